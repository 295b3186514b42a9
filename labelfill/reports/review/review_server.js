// A page that is served: its server keeps the decisions, and fills the table anew.

const RETRY = 5000; // ms
const pending = []; // [row, keypoint number, decision or null] that the server does not have yet
let delivery = Promise.resolve();
let delivering = false;

/** Hand changes to the server; those that do not reach it are tried again. */
function send(changes) {
  pending.push(...changes.map(([key, decision]) => [...rowOf(key), decision ?? null]));
  if (!delivering) delivery = deliver(); // else they are taken along
}

async function deliver() {
  delivering = true;
  try {
    while (pending.length) {
      const part = pending.slice(0, 1000);
      await ask("decisions", { changes: part });
      pending.splice(0, part.length);
    }
    kept = true;
  } catch (error) {
    kept = Boolean(error.refused);
    if (error.refused) {
      pending.length = 0; // they would be refused again
      say(`${error.message}. Load the page anew: it shows what is kept.`, true);
    } else {
      say(error.message);
      setTimeout(() => send([]), RETRY);
    }
  }
  delivering = false;
  element("unsaved").hidden = kept;
}

/** The server's answer, or throws a sentence. */
async function ask(what, question) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) };
  let answer;
  try {
    answer = await fetch(what, request);
  } catch {
    throw new Error("The server does not answer: is labelfill review --serve still running?");
  }
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.error), { refused: answer.status === 400 });
  return told;
}

/** Fill anew by the decisions so far, and go on with the new list. */
async function refill() {
  const button = element("refill");
  button.disabled = true;
  say("The table is filled anew ...", true);
  let came;
  try {
    await delivery;
    if (!kept) throw new Error("Decisions have not reached the server yet.");
    const told = await ask("refill", {});
    document.querySelector(".lead").textContent = told.summary;
    rows = told.rows;
    element("filter").value = "all";
    filter(true);
    came = told.said;
  } catch (error) {
    came = error.message;
  }
  element("refilled").textContent = came; // whole: the line at the foot may be too short for it
  element("refilled").hidden = false;
  say(came, true);
  button.disabled = false;
}

/** What differs on a page that is served. */
function serve() {
  element("unsaved").textContent = "Decisions do not reach the server; they are tried again.";
  const button = document.createElement("button");
  Object.assign(button, { id: "refill", type: "button", textContent: "Refill" });
  button.addEventListener("click", refill);
  element("decide").append(button);
}
