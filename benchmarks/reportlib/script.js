"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = document.querySelector("#filters");
  const views = all("[data-period], [data-metric], [data-sequence]").filter((e) => !form.contains(e));

  // What belongs to one intra period, measure or sequence is shown where that is chosen. data-all="yes" marks
  // what stands beside its like while all sequences are.
  function show() {
    const wanted = new FormData(form);
    const sequence = wanted.get("sequence");
    for (const view of views) {
      const { period, metric, sequence: own, all: always } = view.dataset;
      const fits = (period === undefined || period === wanted.get("period")) &&
        (metric === undefined || metric === wanted.get("metric")) &&
        (own === undefined || own === sequence || (sequence === "" && always === "yes"));
      view.hidden = !fits;
    }
    const drawings = all("#rd figure:not([hidden])");
    for (const button of all(".legend button")) {
      button.parentElement.hidden = !drawings.some((e) => e.querySelector(`.s${button.dataset.series}`));
    }
    for (const plots of all(".plots, .pairs")) {
      plots.classList.toggle("one", all(":scope > :not([hidden])", plots).length === 1);
    }
    for (const section of all("section[data-needs]")) {
      const some = all(section.dataset.needs, section).some((e) => !e.hidden && !e.closest("[hidden]"));
      section.querySelector(".nothing").hidden = some;
    }
  }
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());

  const off = document.head.appendChild(document.createElement("style"));
  function hideSeries() {
    const hidden = all(".legend button").filter((b) => b.getAttribute("aria-pressed") === "false");
    off.textContent = hidden.map((b) => `.s${b.dataset.series}`).join(",") + (hidden.length ? "{display:none}" : "");
  }
  for (const button of all(".legend button")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
      hideSeries();
    });
  }

  for (const figure of all(".compare")) {
    const stage = figure.querySelector(".stage");
    const range = figure.querySelector("input[type=range]");
    const images = all("img", stage);
    const move = () => stage.style.setProperty("--at", `${range.value}%`);
    const choose = () => {
      for (const side of ["left", "right"]) {
        const select = figure.querySelector(`select[name=${side}]`);
        images.forEach((image, index) => image.classList.toggle(side, index === Number(select.value)));
        const tag = stage.querySelector(side === "left" ? ".tag.l" : ".tag.r");
        const { name, tag: figures } = images[Number(select.value)].dataset;
        tag.classList.toggle("bare", figures === "");
        tag.querySelector("b").textContent = name;
        tag.querySelector("i").textContent = figures;
      }
    };
    range.addEventListener("input", move);
    figure.addEventListener("change", choose);
    move();
    choose();
  }
  show();
})();
