"use strict";
(() => {
  const grid = document.getElementById("grid");
  const cards = Array.from(grid.children);
  const control = (name) => document.getElementById(name);
  const shown = ["sample", "qed", "sa", "logp", "mw", "tanimoto"];
  const value = (card, name) => card.dataset[name] === "" ? NaN : Number(card.dataset[name]);

  function within(card) {
    const name = control("column").value;
    const least = parseFloat(control("least").value);
    const most = parseFloat(control("most").value);
    const found = value(card, name);
    return !(found < least) && !(found > most) && (isNaN(least) && isNaN(most) || !isNaN(found));
  }

  function kept(card) {
    const words = control("search").value.trim().toLowerCase();
    const flags = ["passes", "novel"].every((name) => !control(name) || !control(name).checked || card.dataset[name] === "true");
    return flags && within(card) && (!words || card.dataset.text.toLowerCase().includes(words));
  }

  function update() {
    const name = control("sort").value;
    const sign = control("falling").checked ? -1 : 1;
    const order = (card) => isNaN(value(card, name)) ? Infinity : sign * value(card, name);
    cards.sort((a, b) => order(a) - order(b) || value(a, "sample") - value(b, "sample"));
    let count = 0;
    for (const card of cards) {
      card.hidden = !kept(card);
      card.querySelector(".more").textContent = shown.includes(name) ? "" : `, ${name} ${card.dataset[name] || "–"}`;
      count += !card.hidden;
      grid.append(card);
    }
    control("count").textContent = `${count} of ${cards.length}`;
  }

  for (const element of document.querySelectorAll("#controls input, #controls select")) {
    element.addEventListener("input", update);
  }
  update();
})();
