const LONG = 220; // characters, which fill about four lines of a column
// Words of a query that are not marked in texts: they are in every text.
const SHORTEST_WORD = 4; // letters
const UNMARKED = new Set("does from have that their there they this were what when where which whom will with".split(" "));
const COLOURS = 6;
const LISTED = 500; // topics at a time
const PREFIX = "#topic=";
const byId = (id) => document.getElementById(id);
const { runs, inputs, topics, measure } = data;
const several = runs.length > 1;
const colour = (run) => `--series: var(--series-${(run % COLOURS) + 1})`;

const thousands = (value) => value.toLocaleString("en-US");
const signed = (value) => (value < 0 ? "−" : value > 0 ? "+" : "±") + Math.abs(value).toFixed(4);
function score(value) {
  const size = Math.abs(value);
  if (size === 0 || (size >= 1 && size < 1e6)) return value.toFixed(4).replace("-", "−");
  return value.toPrecision(4).replace("-", "−");
}

// --- How two runs differ on a topic.
const chosen = (id) => Number(byId(id).value);
function pair() {
  return several ? [chosen("one"), chosen("other")] : [0, 0];
}
function overlap(topic, one, other) {
  if (one === other) return 1;
  const [low, high] = one < other ? [one, other] : [other, one];
  // Pairs are in the order 0 1, 0 2, …, 1 2, …
  return topic.overlaps[low * runs.length - (low * (low + 1)) / 2 + high - low - 1];
}
function difference(topic, one, other) {
  const values = [topic.values[one], topic.values[other]];
  return values.includes(null) ? null : values[0] - values[1];
}

// --- The list of topics.
const searched = topics.map((topic) => `${topic.id} ${topic.text ?? ""}`.toLowerCase());
const title = (topic) => (topic.text === null ? topic.id : `${topic.id} ${topic.text}`);
const unknownLast = (value) => value ?? -Infinity;
const KEYS = { // the larger, the earlier
  change: (topic, one, other) => unknownLast(difference(topic, one, other) === null ? null : Math.abs(difference(topic, one, other))),
  gain: (topic, one, other) => unknownLast(difference(topic, one, other)),
  loss: (topic, one, other) => unknownLast(difference(topic, other, one)),
  overlap: (topic, one, other) => -overlap(topic, one, other),
};
const WANTED = {
  all: () => true,
  better: (topic, one, other) => difference(topic, one, other) > 0,
  worse: (topic, one, other) => difference(topic, one, other) < 0,
  equal: (topic, one, other) => difference(topic, one, other) === 0,
  different: (topic, one, other) => overlap(topic, one, other) < 1,
};

let listed = []; // numbers of topics, in their order
let current = -1;

function numbers(topic, one, other) {
  const part = (text, kind = "") => element("span", { class: kind }, text);
  if (topic.runs.every((run) => run.found === 0)) return [part("no hits", "numbers")];
  const parts = [];
  const values = several ? [topic.values[one], topic.values[other]] : [topic.values[0]];
  if (measure && values.includes(null)) parts.push(part("not judged"));
  else if (measure) parts.push(part(`${measure} ${values.map((value) => value.toFixed(4)).join(" and ")}`));
  if (several) {
    const change = difference(topic, one, other);
    if (change !== null) parts.push(part(signed(change), change > 0 ? "gain" : change < 0 ? "loss" : ""));
    parts.push(part(`RBO ${overlap(topic, one, other).toFixed(2)}`));
  }
  return parts.length ? [element("span", { class: "numbers" }, ...parts)] : [];
}

function listTopics() {
  const [one, other] = pair();
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = WANTED[several ? byId("which").value : "all"];
  const key = several ? KEYS[byId("order").value] : undefined;
  listed = topics.map((_, number) => number)
    .filter((number) => words.every((word) => searched[number].includes(word)) && wanted(topics[number], one, other));
  if (key) {
    const keys = topics.map((topic) => key(topic, one, other));
    listed.sort((left, right) => (keys[right] === keys[left] ? left - right : keys[right] > keys[left] ? 1 : -1));
  }
  byId("topics").replaceChildren();
  listMore();
  byId("shown").textContent = `${thousands(listed.length)} of ${thousands(topics.length)} topics`;
  markCurrent();
}
function listMore() {
  const [one, other] = pair();
  const list = byId("topics");
  const from = list.children.length;
  list.append(...listed.slice(from, from + LISTED).map((number) => {
    const name = element("span", { class: "topic" }, title(topics[number]));
    const button = element("button", { type: "button", "data-topic": number }, name, ...numbers(topics[number], one, other));
    return element("li", {}, button);
  }));
  const left = listed.length - list.children.length;
  byId("more").hidden = left === 0;
  byId("more").textContent = `${thousands(Math.min(left, LISTED))} more topics`;
}
byId("more").addEventListener("click", () => {
  const place = byId("topics").children.length;
  listMore();
  markCurrent();
  byId("topics").children[place].firstChild.focus();
});
function markCurrent() {
  for (const button of all("#topics button")) {
    if (Number(button.dataset.topic) === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  const place = listed.indexOf(current);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place === listed.length - 1 && place >= 0 || listed.length === 0;
}
byId("filters").addEventListener("input", listTopics);
byId("filters").addEventListener("submit", (event) => event.preventDefault());

// --- The hits of a topic, made when it is chosen.
function ranksOf(topic) {
  return topic.runs.map((run) => new Map([...run.docs.map((doc, place) => [doc, place + 1]), ...run.below]));
}

function marked(text, words) {
  if (words.size === 0) return [text];
  return text.split(/([\p{L}\p{N}]+)/u).map((part, place) => (place % 2 && words.has(part.toLowerCase()) ? element("mark", {}, part) : part));
}

function textOf(doc, words) {
  const text = data.texts[doc];
  if (!text) return [element("p", { class: "text absent" }, text === null ? "not in the corpus" : "no text")];
  const shown = element("p", { class: "text" }, ...marked(text, words));
  if (text.length <= LONG) return [shown];
  shown.classList.add("cut");
  const more = element("button", { type: "button", class: "more", "aria-expanded": "false" }, "Whole text");
  more.addEventListener("click", () => {
    const cut = shown.classList.toggle("cut");
    more.setAttribute("aria-expanded", String(!cut));
    more.textContent = cut ? "Whole text" : "Less text";
  });
  return [shown, more];
}

function elsewhere(topic, ranks, run, doc) {
  const parts = [];
  runs.forEach((name, other) => {
    if (other === run) return;
    const rank = ranks[other].get(doc);
    if (rank === undefined) parts.push(element("span", {}, `not in ${name}`));
    else if (rank > topic.runs[other].docs.length) parts.push(element("span", {}, `rank ${thousands(rank)} in ${name}`));
    else {
      const jump = element("button", { type: "button" }, `rank ${rank} in ${name}`);
      jump.addEventListener("click", () => byId(`hit-${other}-${rank}`).focus());
      parts.push(jump);
    }
  });
  return element("p", { class: "others" }, ...parts);
}

function shares(parts) {
  const whole = parts.reduce((sum, part) => sum + Math.abs(part), 0) || 1;
  const percent = (part) => (100 * Math.abs(part)) / whole;
  const bar = element("div", { class: "bar", "aria-hidden": "true" }, ...parts.map((part, place) =>
    element("span", { class: part < 0 ? "below-zero" : "", style: `${colour(inputs[place])}; width: ${percent(part)}%` })));
  const said = element("p", { class: "parts" }, ...parts.map((part, place) => element("span", {},
    element("i", { style: colour(inputs[place]), "aria-hidden": "true" }), `${runs[inputs[place]]}: ${score(part)} (${percent(part).toFixed(0)} %)`)));
  return [bar, said];
}

function grade(grades, doc) {
  if (!data.judged) return [];
  const given = grades.get(doc);
  if (given === undefined) return [element("span", { class: "badge none" }, "not judged")];
  return [element("span", { class: given >= data.relevant ? "badge ok" : "badge" }, `grade ${given}`)];
}

function column(topic, run, ranks, grades, words) {
  const { found, docs, scores, parts } = topic.runs[run];
  const about = found ? [`${thousands(docs.length)} of ${thousands(found)} hits`] : [];
  if (measure) about.push(topic.values[run] === null ? "not judged" : `${measure} ${topic.values[run].toFixed(4)}`);
  const hits = docs.map((doc, place) => element("li", { class: "hit", id: `hit-${run}-${place + 1}`, tabindex: "-1" },
    element("p", { class: "line" },
      element("span", { class: "rank" }, `${place + 1}`), element("span", { class: "docid" }, data.ids[doc]),
      ...grade(grades, doc), element("span", { class: "score" }, score(scores[place]))),
    ...(several ? [elsewhere(topic, ranks, run, doc)] : []),
    ...(parts.length && parts[place].length ? shares(parts[place]) : []),
    ...textOf(doc, words)));
  return element("section", { class: "run", style: colour(run), "aria-labelledby": `run-${run}` },
    element("h3", { id: `run-${run}`, tabindex: "-1" }, runs[run]), element("p", {}, about.join(" · ")),
    found ? element("ol", {}, ...hits) : element("p", { class: "nothing" }, "This run has no hits for the topic."));
}

function showTopic(number) {
  current = number;
  const topic = topics[number];
  const [ranks, grades] = [ranksOf(topic), new Map(topic.grades)];
  const words = new Set((topic.text ?? "").toLowerCase().match(/[\p{L}\p{N}]+/gu)
    ?.filter((word) => word.length >= SHORTEST_WORD && !UNMARKED.has(word)));
  byId("title").textContent = title(topic);
  const said = [];
  for (let one = 0; one < runs.length; one++) {
    for (let other = one + 1; other < runs.length; other++) said.push(`${runs[one]} and ${runs[other]} ${overlap(topic, one, other).toFixed(2)}`);
  }
  byId("overlaps").textContent = said.length ? `Rank-biased overlap: ${said.join(" · ")}` : "";
  byId("runs").replaceChildren(...runs.map((_, run) => column(topic, run, ranks, grades, words)));
  byId("runs").scrollLeft = 0;
  markCurrent();
}

// The address names the topic, so that it can be sent, and so that the browser goes back.
function choose(number) {
  showTopic(number);
  location.hash = PREFIX + encodeURIComponent(topics[number].id);
}
function fromAddress() {
  if (!location.hash.startsWith(PREFIX)) return -1;
  try {
    const id = decodeURIComponent(location.hash.slice(PREFIX.length));
    return topics.findIndex((topic) => topic.id === id);
  } catch { // somebody typed it
    return -1;
  }
}
addEventListener("hashchange", () => {
  const number = fromAddress();
  if (number >= 0 && topics[number].id !== topics[current].id) showTopic(number);
});

const isNarrow = matchMedia("(max-width: 60rem)");
byId("topics").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  choose(Number(button.dataset.topic));
  if (isNarrow.matches) { // the list is above, not beside
    byId("title").focus();
    byId("hits").scrollIntoView();
  }
});
byId("topics").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = all("#topics button");
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  byId(id).addEventListener("click", () => {
    const number = listed[listed.indexOf(current) + step]; // the first, if the list lacks the current one
    if (number === undefined) return;
    choose(number);
    byId("topics").querySelector(`[data-topic="${number}"]`)?.scrollIntoView({ block: "nearest" });
  });
}

if (several) {
  byId("jump").append(...runs.map((name, run) => {
    const jump = element("button", { type: "button" }, name);
    jump.addEventListener("click", () => byId(`run-${run}`).focus());
    return jump;
  }));
}
listTopics();
showTopic(Math.max(fromAddress(), 0));
