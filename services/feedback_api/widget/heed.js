/**
 * Heed's widget: <heed-feedback> and <heed-compare>, one module without dependencies.
 * It posts with a widget token that the page's own server made, never with an API key.
 * Nothing is parsed as HTML and styles are adopted, so a strict CSP needs connect-src only.
 */

/** Strings by language; add one as `languages.de = {…}`, or set `labels` on an element. */
export const languages = {
  en: {
    group: "Feedback on this response",
    step: "Feedback on step {n}",
    up: "Good response",
    down: "Bad response",
    stars: "Rating",
    star: "{n} of 5 stars",
    comment: "Comment",
    placeholder: "What was good, what was missing?",
    send: "Send",
    cancel: "Cancel",
    question: "Which response is better?",
    response: "Response {n}",
    better: "{n} is better",
    tie: "Equally good",
    both_bad: "Both are bad",
    queued: "Will be saved shortly",
    sending: "Saving…",
    saved: "Thank you, saved",
    failed: "Not saved",
    expired: "Not saved, please reload the page",
    retry: "Try again",
  },
};

const ATTEMPTS = 4;
const LONGEST_WAIT_S = 30;
const TIMEOUT_MS = 15_000;
const KEYBOARD_MS = 400; // arrow keys pass through values that are not meant
const KEEPALIVE_BYTES = 60_000;

const ICONS = {
  thumb: "M7 10.5v10M7 10.5l4-7.6a2.6 2.6 0 0 1 2.4 2.9L13 9.5h5.6a2 2 0 0 1 2 2.3l-1.2 7a2 2 0 0 1-2 1.7H4.5a1 1 0 0 1-1-1v-8a1 1 0 0 1 1-1z",
  star: "M12 3.4l2.7 5.4 5.9.9-4.3 4.1 1 5.9-5.3-2.8-5.3 2.8 1-5.9-4.3-4.1 5.9-.9z",
  bubble: "M5 4.5h14a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5h-7l-4.5 3.5v-3.5H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.5z",
  check: "M5 12.5l4.5 4.5L19 7.5",
};

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: block; color-scheme: light dark;
  --text: var(--heed-text, light-dark(#1c2430, #e8ebf0));
  --muted: var(--heed-muted, light-dark(#5b6675, #a2adbb));
  --line: var(--heed-border, light-dark(#d5dae1, #3b4451));
  --paper: var(--heed-surface, light-dark(#fff, #171c24));
  --accent: var(--heed-accent, light-dark(#3452c9, #9db4ff));
  --on: color-mix(in srgb, var(--accent) 12%, transparent);
  --gold: var(--heed-star, light-dark(#b97300, #ffc44d));
  --shine: var(--heed-star, light-dark(#f2ae24, #ffc44d));
  --bad: var(--heed-error, light-dark(#b3261e, #ff9b92));
  --round: var(--heed-radius, 10px);
  font: 14px/1.45 var(--heed-font, system-ui, sans-serif); color: var(--text); }
:host([hidden]), [hidden] { display: none !important; }
:host(heed-compare) { container-type: inline-size; }
:host([theme=light]) { color-scheme: light; }
:host([theme=dark]) { color-scheme: dark; }
:host([theme=inherit]) { color-scheme: inherit; }
* { box-sizing: border-box; font: inherit; color: inherit; }
svg { width: 20px; height: 20px; display: block; fill: none; stroke: currentColor;
  stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; pointer-events: none; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 2px; min-height: 36px; }
.row > * + .stars, .stars + * { margin-inline-start: 8px; }
button { border: 1px solid transparent; border-radius: var(--round); background: none;
  padding: 0 14px; min-height: 36px; cursor: pointer; }
.icon { width: 36px; padding: 0; display: grid; place-items: center; color: var(--muted); }
.icon:hover { color: var(--text); background: var(--on); }
.icon[aria-pressed=true], .icon.has { color: var(--accent); background: var(--on); }
.icon[aria-pressed=true] svg, .icon.has svg { fill: color-mix(in srgb, currentColor 28%, transparent); }
.down svg { transform: scale(1, -1); }
.stars { display: flex; color: var(--muted); }
.stars label { position: relative; padding: 8px 4px; cursor: pointer; }
.stars label:first-child { padding-inline-start: 8px; }
.stars svg { width: 22px; height: 22px; margin: -1px 0; }
.stars:not(:hover) label:has(:checked) svg, .stars:not(:hover) label:has(~ label :checked) svg,
.stars label:hover svg, .stars label:has(~ label:hover) svg { color: var(--gold); fill: var(--shine); }
input { position: absolute; inset: 0; margin: 0; opacity: 0; cursor: pointer; }
span:focus { outline: none; }
button:focus-visible, textarea:focus-visible, label:has(:focus-visible) {
  outline: 2px solid var(--accent); outline-offset: 1px; border-radius: var(--round); }
.state { display: flex; align-items: center; gap: 6px; color: var(--muted); font-size: 13px;
  margin-inline-start: 8px; }
.state svg { width: 16px; height: 16px; stroke-width: 2.2; color: var(--accent); }
:host([state=failed]) .state span { color: var(--bad); }
.retry { min-height: 30px; padding: 0 10px; font-size: 13px; border-color: var(--line); }
.retry:hover, .quiet:hover { background: var(--on); }
.box { margin-top: 8px; max-width: 34rem; display: grid; gap: 8px; }
textarea { width: 100%; min-height: 76px; resize: vertical; padding: 9px 12px; background: var(--paper);
  border: 1px solid var(--line); border-radius: var(--round); }
textarea::placeholder { color: var(--muted); opacity: 1; }
.box div { display: flex; gap: 6px; justify-content: flex-end; }
.send { background: var(--accent); color: light-dark(#fff, #10151d); font-weight: 600; }
.send:hover { background: color-mix(in srgb, var(--accent) 88%, var(--text)); }
.quiet { color: var(--muted); }
.pair { display: grid; gap: 12px; grid-template-columns: 1fr 1fr; }
section { border: 1px solid var(--line); border-radius: var(--round); background: var(--paper);
  padding: 12px 16px 14px; overflow-wrap: anywhere; }
section.chosen { border: 2px solid var(--accent); padding: 11px 15px 13px; }
section b { display: block; color: var(--muted); font-weight: 600; font-size: 12px; margin-bottom: 4px; }
section.chosen b { color: var(--accent); }
slot { white-space: pre-wrap; }
.question { margin: 14px 0 8px; font-weight: 600; }
.choice { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; }
.choice label { position: relative; display: grid; place-items: center; min-height: 40px; padding: 4px 8px;
  text-align: center; border: 1px solid var(--line); border-radius: var(--round); background: var(--paper); }
.choice label:hover { border-color: var(--muted); }
.choice label:has(:checked) { border: 2px solid var(--accent); padding: 3px 7px; color: var(--accent);
  background: linear-gradient(var(--on), var(--on)), var(--paper); }
.choice + .row { margin-top: 6px; }
.choice + .row .state:first-child { margin-inline-start: 2px; }
@container (max-width: 520px) { .pair { grid-template-columns: 1fr; } .choice { grid-template-columns: 1fr 1fr; } }
@media (prefers-reduced-motion: no-preference) {
  button, label, section, svg { transition: color .12s, background-color .12s, border-color .12s, fill .12s; }
  .icon:active svg, .stars label:active svg { scale: .86; }
  :host([state=sending]) .state { animation: wait 1s infinite alternate; } }
@keyframes wait { to { opacity: .45; } }
`);

function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  const make = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
  const svg = make("svg");
  const path = make("path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const newKey = () => crypto.getRandomValues(new BigUint64Array(2)).join("-"); // randomUUID needs https

/** What both elements share: strings, tokens, one post at a time, and what became of it. */
class HeedElement extends HTMLElement {
  static observedAttributes = ["token", "streaming", "interaction-id", "step", "kinds", "labels", "lang"];
  static own = ["token", "tokenSource", "labels", "value"];
  #token = null;
  #source = null;
  #labels = {};
  #pending = null;
  #sending = null;
  #busy = false;
  #isResting = false;
  #timer = 0;
  #target = 0;
  #flush = () => this.flush();
  #leave = () => this.#sendLast();

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    this.said = {};
  }

  connectedCallback() {
    for (const name of this.constructor.own) {
      if (!Object.hasOwn(this, name)) continue; // set before this module was loaded
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    addEventListener("pagehide", this.#leave);
    addEventListener("online", this.#flush);
    this.render();
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.#leave);
    removeEventListener("online", this.#flush);
    this.flush();
  }

  attributeChangedCallback(name, before, value) {
    if (name === "token") this.#token = value;
    if (["interaction-id", "step"].includes(name) && before !== null && before !== value) this.reset();
    if (name === "labels") this.#labels = JSON.parse(value || "{}");
    if (!this.isConnected) return;
    if (name === "token" || name === "streaming") this.flush();
    else this.render();
  }

  /** The widget token; setting one sends what waits. */
  get token() { return this.#token; }
  set token(token) { this.#token = token; this.flush(); }

  /** Asked when a token is needed: async ({interactionId, step, kinds, reason}) => token or {token}. */
  get tokenSource() { return this.#source; }
  set tokenSource(source) { this.#source = source; this.flush(); }

  get labels() {
    const language = (this.lang || document.documentElement.lang || "en").toLowerCase();
    const known = languages[language] ?? languages[language.split("-")[0]];
    return { ...languages.en, ...known, ...this.#labels };
  }
  set labels(labels) { this.#labels = labels ?? {}; if (this.isConnected) this.render(); }

  /** What was said so far; set it to show what was said before. */
  get value() { return { ...this.said }; }
  set value(value) { this.said = { ...value }; if (this.isConnected) this.render(); }

  get kinds() {
    const kinds = this.getAttribute("kinds") ?? this.constructor.kinds;
    return kinds.replace("stars", "rating").split(/[\s,]+/);
  }

  /** Begin anew, because the element is about something else now. */
  reset() {
    this.#target++;
    this.#token = this.#pending = this.#sending = null;
    this.said = {};
    this.setAttribute("state", "idle");
    if (this.isConnected) this.render();
  }

  say(values, delay = 0) {
    Object.assign(this.said, values);
    this.#pending = { ...this.#pending, ...values };
    this.paint();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), delay);
  }

  /** Send what waits, if it can be sent by now. */
  async flush() {
    clearTimeout(this.#timer);
    if (this.#busy || !this.#pending) return;
    if (!this.isReady) return this.show("queued");
    const values = this.#pending;
    const target = this.#target;
    this.#sending = values;
    this.#pending = null;
    this.#busy = true;
    this.show("sending");
    try {
      const reply = await this.#deliver(this.body(values));
      if (target === this.#target) this.show("saved");
      this.#emit("heed-submitted", { values, reply });
    } catch (error) {
      this.#emit("heed-error", { values, code: error.code ?? "network", status: error.status });
      if (target === this.#target) {
        this.#pending = { ...values, ...this.#pending };
        return this.show("failed", error.code);
      }
    } finally {
      this.#busy = false;
      this.#sending = null;
    }
    this.flush(); // what was said meanwhile
  }

  /** The page goes: what was said during a post, or waits to be tried again, is sent now. */
  #sendLast() {
    if (!this.#busy) return this.flush();
    const values = { ...(this.#isResting && this.#sending), ...this.#pending };
    if (Object.keys(values).length) this.#post(JSON.stringify(this.body(values)), newKey(), "first");
  }

  get isReady() { return !this.hasAttribute("streaming") && Boolean(this.#token || this.#source); }

  async #deliver(body) {
    const text = JSON.stringify(body);
    const key = newKey();
    const target = this.#target;
    let reason = "first";
    for (let attempt = 1; ; attempt++) {
      const { reply, content } = await this.#post(text, key, reason);
      if (reply?.ok) return content;
      if (reply?.status === 401 && this.#source && reason !== "expired") {
        this.#token = null;
        reason = "expired";
        continue;
      }
      const asked = Number(reply?.headers.get("Retry-After")) || 0;
      const wait = Math.max(asked, 2 ** (attempt - 2) * (0.5 + Math.random()));
      const isOver = attempt >= ATTEMPTS || wait > LONGEST_WAIT_S || target !== this.#target;
      if (isOver || (reply && ![429, 502, 503, 504].includes(reply.status)))
        throw Object.assign(new Error(content?.detail), { code: content?.code, status: reply?.status });
      this.#isResting = true;
      await sleep(wait);
      this.#isResting = false;
      if (target !== this.#target) throw new Error("The element is about something else now.");
    }
  }

  /** One attempt; without a reply when the network, or the page's own server, gives none. */
  async #post(body, key, reason) {
    try {
      const target = this.#target;
      const token = this.#token ?? (await this.#ask(reason));
      if (target !== this.#target) return {};
      this.#token = token;
      const endpoint = (this.getAttribute("endpoint") ?? "").replace(/\/*$/, "/");
      const reply = await fetch(new URL(this.constructor.path, new URL(endpoint, document.baseURI)), {
        method: "POST",
        headers: {
          "Content-Type": "application/json", "Idempotency-Key": key, Authorization: `Bearer ${token}`,
        },
        body,
        credentials: "omit",
        keepalive: body.length < KEEPALIVE_BYTES,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      return { reply, content: await reply.json().catch(() => null) };
    } catch {
      return {};
    }
  }

  async #ask(reason) {
    const target = { interactionId: this.getAttribute("interaction-id"), step: this.getAttribute("step") };
    const made = await this.#source({ ...target, kinds: this.kinds, reason });
    return made?.token ?? made;
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  /** `state` is idle, queued, sending, saved or failed; pages may style by the attribute. */
  show(state, code) {
    const t = this.labels;
    this.setAttribute("state", state);
    this.status.textContent = code === "token_expired" ? t.expired : (t[state] ?? "");
    this.tick.toggleAttribute("hidden", state !== "saved");
    this.retry.hidden = state !== "failed";
  }

  /** The comment's button and box, and the line that says what became of the last post. */
  footer() {
    const t = this.labels;
    const again = () => {
      this.flush();
      this.status.focus(); // the button goes, where the person is stays
    };
    this.status = h("span", { role: "status", tabindex: -1 });
    this.tick = icon("check");
    this.retry = h("button", { type: "button", class: "retry", onclick: again }, t.retry);
    this.show(this.getAttribute("state") ?? "idle");
    return h("div", { class: "state" }, this.tick, this.status, this.retry);
  }

  comment() {
    const t = this.labels;
    const open = (isOpen) => {
      box.hidden = !isOpen;
      button.setAttribute("aria-expanded", isOpen);
      (isOpen ? text : button).focus();
    };
    const send = () => {
      if (text.value.trim()) this.say({ comment: text.value.trim() });
      open(false);
    };
    const button = h("button", {
      type: "button", class: "icon", "aria-label": t.comment, title: t.comment,
      "aria-expanded": "false", onclick: () => open(box.hidden),
    }, icon("bubble"));
    const text = h("textarea", { "aria-label": t.comment, placeholder: t.placeholder, maxlength: 10_000 });
    const box = h("div", { class: "box", hidden: "" }, text, h("div", {},
      h("button", { type: "button", class: "quiet", onclick: () => open(false) }, t.cancel),
      h("button", { type: "button", class: "send", onclick: send }, t.send)));
    box.addEventListener("keydown", (event) => {
      event.stopPropagation(); // typing is no shortcut of the page
      if (event.key === "Escape") open(false);
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
    });
    text.value = this.said.comment ?? "";
    return { button, box };
  }
}

/** Thumbs, stars and a comment on one response or one reasoning step. */
class HeedFeedback extends HeedElement {
  static path = "feedback";
  static kinds = "thumbs comment";

  body(values) { return values; }

  render() {
    const t = this.labels;
    const parts = { thumbs: () => this.#thumbs(t), rating: () => [this.#stars(t)] };
    const row = h("div", { class: "row" });
    const step = this.getAttribute("step");
    const label = step === null ? t.group : t.step.replace("{n}", step);
    const group = h("div", { role: "group", "aria-label": label }, row);
    for (const kind of this.kinds) row.append(...(parts[kind]?.() ?? []));
    if (this.kinds.includes("comment")) {
      this.remark = this.comment();
      row.append(this.remark.button);
      group.append(this.remark.box);
    }
    row.append(this.footer());
    this.shadowRoot.replaceChildren(group);
    this.paint();
  }

  #thumbs(t) {
    this.thumbs = ["up", "down"].map((thumb) => h("button", {
      type: "button", class: `icon ${thumb}`, "aria-label": t[thumb], title: t[thumb],
      onclick: () => this.said.thumbs !== thumb && this.say({ thumbs: thumb }),
    }, icon("thumb")));
    return this.thumbs;
  }

  #stars(t) {
    this.stars = [1, 2, 3, 4, 5].map((n) => h("input", {
      type: "radio", name: "stars", value: n, "aria-label": t.star.replace("{n}", n),
      onchange: () => this.say({ rating: n }, KEYBOARD_MS),
    }));
    const labels = this.stars.map((star) => h("label", {}, star, icon("star")));
    return h("div", { class: "stars", role: "radiogroup", "aria-label": t.stars }, ...labels);
  }

  paint() {
    this.thumbs?.forEach((button, place) => {
      button.setAttribute("aria-pressed", this.said.thumbs === ["up", "down"][place]);
    });
    this.stars?.forEach((star) => { star.checked = Number(star.value) === this.said.rating; });
    this.remark?.button.classList.toggle("has", Boolean(this.said.comment));
  }
}

/** Two responses side by side, in random order, and which of them is better. */
class HeedCompare extends HeedElement {
  static path = "preference";
  static kinds = "preference";
  static own = [...HeedElement.own, "prompt", "responseA", "responseB"];
  order = crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? ["a", "b"] : ["b", "a"];
  #texts = {};

  get prompt() { return this.#texts.prompt; }
  set prompt(text) { this.#set("prompt", text); }
  get responseA() { return this.#texts.response_a; }
  set responseA(text) { this.#set("response_a", text); }
  get responseB() { return this.#texts.response_b; }
  set responseB(text) { this.#set("response_b", text); }

  #set(name, text) {
    const before = this.#texts[name];
    this.#texts[name] = text;
    if (before !== undefined && before !== text && !this.hasAttribute("streaming")) this.reset();
    this.#fill();
    this.flush();
  }

  #fill() {
    this.panels?.forEach((panel, place) => {
      panel.lastChild.textContent = this.#texts[`response_${this.order[place]}`] ?? "";
    });
  }

  get isReady() {
    return super.isReady && ["prompt", "response_a", "response_b"].every((name) => this.#texts[name] !== undefined);
  }

  body(values) { return { ...this.#texts, ...this.said, ...values, presented_order: this.order }; }

  render() {
    const t = this.labels;
    const names = [1, 2].map((n) => t.response.replace("{n}", n));
    const [first, second] = names.map((name) => t.better.replace("{n}", name));
    const [left, right] = this.order;
    this.panels = this.order.map((side, place) => h("section", { "aria-label": names[place] },
      h("b", {}, names[place]), h("slot", { name: side })));
    const choices = [[left, first], ["tie", t.tie], ["both_bad", t.both_bad], [right, second]];
    this.choices = choices.map(([value]) => h("input", {
      type: "radio", name: "choice", value, onchange: () => this.say({ preferred: value }, KEYBOARD_MS),
    }));
    const row = h("div", { class: "row" });
    const group = h("div", { role: "group", "aria-label": t.question },
      h("div", { class: "pair" }, ...this.panels),
      h("div", { class: "question", id: "question" }, t.question),
      h("div", { class: "choice", role: "radiogroup", "aria-labelledby": "question" },
        ...choices.map(([, label], place) => h("label", {}, this.choices[place], label))),
      row);
    if (this.kinds.includes("comment")) {
      this.remark = this.comment();
      row.append(this.remark.button);
      group.append(this.remark.box);
    }
    row.append(this.footer());
    this.shadowRoot.replaceChildren(group);
    this.#fill();
    this.paint();
  }

  paint() {
    this.choices.forEach((choice) => { choice.checked = choice.value === this.said.preferred; });
    if (this.remark) this.remark.button.hidden = !this.said.preferred;
    this.panels.forEach((panel, place) => {
      panel.classList.toggle("chosen", this.order[place] === this.said.preferred);
    });
    this.remark?.button.classList.toggle("has", Boolean(this.said.comment));
  }
}

customElements.define("heed-feedback", HeedFeedback);
customElements.define("heed-compare", HeedCompare);
