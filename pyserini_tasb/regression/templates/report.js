const QUERIES_SHOWN = 10; // at each end
const SVG = "http://www.w3.org/2000/svg";

// --- Conditions open. Without this script they are all open.
function setOpen(opener, open) {
  opener.setAttribute("aria-expanded", String(open));
  document.getElementById(opener.getAttribute("aria-controls")).hidden = !open;
}
for (const row of all("tr.condition")) {
  const opener = row.querySelector(".opener");
  setOpen(opener, false);
  row.addEventListener("click", (event) => {
    // Whoever selects a value by mouse does not mean to open the row.
    if (opener.contains(event.target) || getSelection().isCollapsed) {
      setOpen(opener, opener.getAttribute("aria-expanded") === "false");
    }
  });
}

// --- Filters.
const wantedText = document.getElementById("filter-text");
const wantedTopics = document.getElementById("filter-topics");
const verdictBoxes = all("#filters [name=verdict]");
const searched = new Map(all("tr.condition").map((row) => {
  const topics = row.closest("section").querySelector("h2").textContent;
  return [row, [topics, row.textContent, ...all("p, li, pre", row.nextElementSibling).map((part) => part.textContent)]
    .join("\n").toLowerCase()];
}));

function filter() {
  const words = wantedText.value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set(verdictBoxes.filter((box) => box.checked).map((box) => box.value));
  let shown = 0;
  for (const section of all("section.topics")) {
    const here = wantedTopics.value === "" || wantedTopics.value === section.dataset.section;
    let shownHere = 0;
    for (const row of all("tr.condition", section)) {
      const fits = here && verdicts.has(row.dataset.verdict) && words.every((word) => searched.get(row).includes(word));
      row.hidden = !fits;
      const open = row.querySelector(".opener").getAttribute("aria-expanded") === "true";
      row.nextElementSibling.hidden = !(fits && open);
      shownHere += fits;
    }
    section.hidden = shownHere === 0;
    shown += shownHere;
  }
  document.getElementById("shown").textContent = `${shown} of ${searched.size} conditions`;
}
document.getElementById("filters").addEventListener("input", filter);
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
filter();

// --- Commands are copied.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page opened as a file has no clipboard everywhere
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const button of all(".copy")) {
  button.addEventListener("click", async () => {
    await copy(button.closest(".command").querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
    button.focus();
  });
}

// --- Differences to another condition, query by query.
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
const probability = (p) => (p < 0.001 ? "p < .001" : `p = ${p.toFixed(3)}`);

function summary(about, measure, mine, other) {
  const known = measure.tests[`${mine} ${other}`];
  const test = known || measure.tests[`${other} ${mine}`];
  const sign = known ? 1 : -1;
  const [low, high] = known ? [test.low, test.high] : [test.high, test.low];
  const interval = test.low === null ? "" : `, 95 % interval ${signed(sign * low)} to ${signed(sign * high)}`;
  const pairs = Object.keys(measure.tests).length;
  const corrected = pairs > 1 ? `, Holm-corrected for all ${pairs} pairs of conditions` : "";
  const [wins, losses] = known ? [test.wins, test.losses] : [test.losses, test.wins];
  return element("p", {},
    element("strong", {}, `${signed(sign * test.difference)} ${test.significant ? "significant" : "not significant"}`),
    ` (${probability(test.p)}, paired t-test${corrected})${interval}. `,
    `Better on ${wins}, equal on ${test.ties}, worse on ${losses} of ${about.queries.length} queries.`);
}

function bars(differences) {
  const width = differences.length;
  const largest = Math.max(...differences.map((each) => Math.abs(each.difference)), 1e-9);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 -1.05 ${width} 2.1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Differences of all queries, sorted; the largest is ${largest.toFixed(4)}`);
  const path = (name) => svg.appendChild(document.createElementNS(SVG, "path")).classList.add(name);
  path("gain");
  path("loss");
  const drawn = { gain: "", loss: "" };
  differences.forEach(({ difference }, place) => {
    if (difference) drawn[difference > 0 ? "gain" : "loss"] += `M${place + 0.1} 0h.8v${-difference / largest}h-.8z`;
  });
  for (const part of svg.children) part.setAttribute("d", drawn[part.classList[0]]);
  const axis = document.createElementNS(SVG, "line");
  for (const [key, value] of Object.entries({ x2: width, class: "axis", "vector-effect": "non-scaling-stroke" })) {
    axis.setAttribute(key, value);
  }
  svg.append(axis);
  return svg;
}

function queryTable(differences, names) {
  const head = ["query", "text", ...names, "difference"].map((name) => element("th", { scope: "col" }, name));
  const rows = differences.map((each) => element("tr", {},
    element("th", { scope: "row" }, each.query), element("td", {}, each.text || "–"),
    element("td", { class: "value" }, each.mine.toFixed(4)), element("td", { class: "value" }, each.other.toFixed(4)),
    element("td", { class: "value number" }, signed(each.difference))));
  return element("div", { class: "scrolled", role: "region", tabindex: "0", "aria-label": "queries: table" },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

function showDifferences(box) {
  const about = data[Number(box.closest("section").dataset.section)];
  const mine = Number(box.dataset.condition);
  const chosen = box.querySelector(".other").value;
  const measure = about.measures[box.querySelector(".measure").value];
  const place = box.querySelector(".differences");
  place.replaceChildren();
  if (chosen === "" || !measure) return;
  const other = Number(chosen);
  const [values, others] = [measure.values[mine], measure.values[other]];
  if (!values || !others) {
    place.append(element("p", {}, "These two conditions have no values of this measure on the same queries."));
    return;
  }
  const differences = about.queries.map((query, at) => ({
    query, text: about.texts[at], mine: values[at], other: others[at], difference: values[at] - others[at],
  })).sort((one, another) => another.difference - one.difference);
  const names = [about.conditions[mine], about.conditions[other]];
  place.append(summary(about, measure, mine, other), bars(differences));
  if (differences.length <= 2 * QUERIES_SHOWN) {
    place.append(queryTable(differences, names));
    return;
  }
  const ends = [...differences.slice(0, QUERIES_SHOWN), ...differences.slice(-QUERIES_SHOWN)];
  const more = element("button", { type: "button" }, `All ${differences.length} queries`);
  place.append(queryTable(ends, names), more);
  more.addEventListener("click", () => {
    more.previousSibling.replaceWith(queryTable(differences, names));
    more.remove();
  });
}
for (const box of all(".compare")) box.addEventListener("change", () => showDifferences(box));
