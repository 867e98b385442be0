// The page of the example: shows a response while it arrives, with feedback on it and on its steps.
const endpoint = document.documentElement.dataset.heed;
const find = (selector) => document.querySelector(selector);

async function tokenSource(wanted) {
  const reply = await fetch("/feedback-token", { method: "POST", body: JSON.stringify(wanted) });
  if (!reply.ok) throw new Error("no token");
  return reply.json();
}

function prepare(element) {
  element.setAttribute("endpoint", endpoint);
  element.tokenSource = tokenSource;
  return element;
}

async function* lines(stream) {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    for (const line of parts) yield JSON.parse(line);
  }
}

function addStep({ step, text }, interactionId) {
  const item = document.createElement("li");
  const feedback = prepare(document.createElement("heed-feedback"));
  feedback.setAttribute("kinds", "thumbs");
  feedback.setAttribute("step", step);
  feedback.setAttribute("interaction-id", interactionId);
  item.append(text, feedback);
  find(".steps").append(item);
}

async function ask() {
  const whole = prepare(find(".whole"));
  const reply = await fetch("/ask", { method: "POST" });
  for await (const line of lines(reply.body)) {
    if (line.interaction_id) {
      whole.setAttribute("interaction-id", line.interaction_id);
      find(".question").textContent = line.question;
    }
    if (line.step) addStep(line, whole.getAttribute("interaction-id"));
    if (line.word) find(".response").append(line.word);
    if (line.done) whole.removeAttribute("streaming"); // what was clicked meanwhile is sent now
  }
}

async function compare() {
  const element = prepare(find("heed-compare"));
  const { prompt, response_a, response_b } = await (await fetch("/compare")).json();
  Object.assign(element, { prompt, responseA: response_a, responseB: response_b });
}

await Promise.all([ask(), compare()]);
