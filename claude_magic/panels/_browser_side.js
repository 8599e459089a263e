// The browser side of a panel. Loaded after `display/_page.js`, whose functions it uses.

const KEY = "claude_magic_transcript"; // in the metadata of an output
const NOTHING = { output_type: "display_data", data: { "text/html": "", "text/markdown": "" }, metadata: {} };
const OUTPUTS_DELAY = 1000; // ms; they may still be in flight when the kernel sends their keys

export default {
  // Once per panel and page, regardless of the number of views.
  initialize({ model }) {
    const report = (outcome) => model.send({ outcome });
    const actions = {
      copy: async ({ text }) => report((await copy(text)) ? "Copied." : "The browser does not allow copying here."),
      insert: async ({ text, kind }) => {
        if (insertCell(model, text, kind, (cell) => showsPanel(model, cell))) return report("Inserted below.");
        const outcome = "Copied: this front end cannot insert cells. Paste the text into a new cell.";
        report((await copy(text)) ? outcome : "This front end can neither insert cells nor copy.");
      },
      compare: (expected) => setTimeout(() => compareOutputs(model, expected), OUTPUTS_DELAY),
      add: ({ outputs }) => addOutputs(model, outputs),
    };
    const act = (message) => actions[message.do]?.(message);
    model.on("msg:custom", act);
    model.send({ page: true });
    return () => model.off("msg:custom", act);
  },

  // Once per view of the panel.
  render({ model, el }) {
    const panel = () => el.closest(".claude-magic-panel");
    const onKey = (event) => {
      if (event.isComposing || !panel()?.contains(event.target)) return;
      if (event.key === "Escape") stopAnswer(panel(), event);
      if (event.key === "Enter" && event.target.closest(".claude-magic-prompt")) enter(panel(), event);
    };
    // On pointerdown: a growing answer may move the button away before the pointer is released, and then there is no click.
    const onPress = (event) => {
      const stop = event.button === 0 && event.target.closest?.("button.claude-magic-stop:not(:disabled)");
      if (stop && panel()?.contains(stop)) stop.click();
    };
    const onInput = (event) => {
      const isInside = panel()?.contains(event.target);
      if (isInside && panel().querySelector(".claude-magic-note")?.textContent.trim()) model.send({ edited: true });
    };
    const showBusy = () => {
      const isBusy = model.get("is_busy");
      panel()?.querySelector(".claude-magic-conversation")?.setAttribute("aria-busy", isBusy);
      keepFocus(panel(), isBusy);
    };
    const announce = () => (el.textContent = model.get("announcement"));
    // On the window, because notebooks handle keys on the document, before the elements in it.
    window.addEventListener("keydown", onKey, { capture: true });
    window.addEventListener("pointerdown", onPress, { capture: true });
    window.addEventListener("input", onInput, { capture: true });
    model.on("change:is_busy", showBusy);
    model.on("change:announcement", announce);
    el.setAttribute("aria-live", "assertive");
    let isShown = true;
    const loseKernel = (reason) => {
      panel()?.querySelector(".claude-magic-conversation")?.setAttribute("aria-busy", false);
      lose(panel(), reason, wayBack(model, panel(), reason));
    };
    const forgetKernel = watchKernel(model, loseKernel);
    whenAttached(el, () => isShown).then((isAttached) => {
      if (!isAttached) return;
      label(panel());
      showBusy();
      if (panel().matches(".jupyter-widgets-disconnected")) loseKernel(RESTARTED);
    });
    return () => {
      isShown = false;
      forgetKernel();
      window.removeEventListener("keydown", onKey, { capture: true });
      window.removeEventListener("pointerdown", onPress, { capture: true });
      window.removeEventListener("input", onInput, { capture: true });
      model.off("change:is_busy", showBusy);
      model.off("change:announcement", announce);
    };
  },
};

// What to do about a lost kernel. A panel that is opened again is empty, so its conversation has to be loaded first. A cell that
// names no thread opens a new one.
function wayBack(model, panel, reason) {
  if (!panel?.querySelector(".claude-magic-exchange, .claude-magic-earlier details")) return;
  const [thread] = panel.querySelector(".claude-magic-heading").textContent.trim().split(" · ");
  const load = `${reason}. To go on with this conversation, save the notebook, run \`%claude load notebook\``;
  if (thread === model.get("named_thread"))
    return `${load} in a new cell, and then run this cell again. Without it, this cell starts a new one.`;
  return `${load} and then \`%claude panel ${thread}\` in new cells. Running this cell again starts a new one.`;
}

// Keys. Keys with a meaning in the panel must not reach the notebook, which would run the cell or leave the panel.

function enter(panel, event) {
  if (!event.ctrlKey && !event.metaKey) return event.stopPropagation(); // a new line, with or without Shift
  event.preventDefault();
  event.stopImmediatePropagation();
  event.target.dispatchEvent(new Event("change", { bubbles: true })); // sends the text to the kernel, as leaving the field does
  panel.querySelector("button.claude-magic-send:not(:disabled)")?.click();
}

function stopAnswer(panel, event) {
  const stop = panel.querySelector("button.claude-magic-stop:not(:disabled)");
  if (!stop) return; // handled by the notebook, which leaves the panel
  event.preventDefault();
  event.stopImmediatePropagation();
  stop.click();
}

// Send and Stop replace each other; the focus moves from the pressed button to the other one.
async function keepFocus(panel, isBusy) {
  const [pressed, next] = isBusy ? ["send", "stop"] : ["stop", "send"];
  const focused = document.activeElement;
  if (!panel?.contains(focused) || !focused.matches(`.claude-magic-${pressed}`)) return;
  const button = panel.querySelector(`button.claude-magic-${next}`);
  while (button?.isConnected && button.disabled) await new Promise(requestAnimationFrame);
  if ([focused, document.body].includes(document.activeElement)) button?.focus({ preventScroll: true });
}

// Screen readers...

async function whenAttached(el, isWanted) {
  while (isWanted() && !el.closest(".claude-magic-panel")) await new Promise(requestAnimationFrame);
  return isWanted();
}

function label(panel) {
  panel.setAttribute("role", "region");
  panel.setAttribute("aria-label", "Claude panel");
  const conversation = panel.querySelector(".claude-magic-conversation");
  conversation?.setAttribute("role", "log");
  conversation?.setAttribute("aria-label", "Conversation");
  conversation?.setAttribute("tabindex", "0"); // so that the arrow keys scroll it
  nameTurns(panel.querySelector(".claude-magic-exchanges"));
  panel.querySelector(".claude-magic-note")?.setAttribute("role", "status");
  panel.querySelector(".claude-magic-prompt textarea")?.setAttribute("aria-label", "Prompt for Claude");
  panel.querySelector(".claude-magic-attachments input[type=text]")?.setAttribute("aria-label", "Variables to send");
  for (const name of ["attachments", "settings"]) {
    const toggle = panel.querySelector(`.claude-magic-unfold-${name}`);
    let isOpen = true; // a row that is open as the panel is shown is not scrolled to
    const update = () => {
      const wasOpen = isOpen;
      isOpen = toggle.classList.contains("mod-active");
      toggle.setAttribute("aria-expanded", isOpen);
      // In the view that was clicked, not in another view of the same panel.
      if (isOpen && !wasOpen && toggle.matches(":hover, :focus"))
        panel.querySelector(`.claude-magic-${name}`)?.scrollIntoView({ block: "nearest" });
    };
    if (!toggle) continue;
    new MutationObserver(update).observe(toggle, { attributeFilter: ["class"] });
    update();
  }
}

// Labels for the speakers and for the buttons of each answer.
function nameTurns(exchanges) {
  const watch = new MutationObserver(() => nameAll());
  // An exchange is added before its parts, and these before their content, which is not watched.
  const nameAll = () =>
    [...(exchanges?.children ?? [])].forEach((turn, index) => {
      watch.observe(turn, { childList: true });
      nameTurn(turn, index);
    });
  if (exchanges) watch.observe(exchanges, { childList: true });
  nameAll();
}

function nameTurn(turn, index) {
  const name = (part, words, role = "group") => {
    part?.setAttribute("role", role);
    part?.setAttribute("aria-label", words);
  };
  const number = index + 1;
  const [question, answer, approval, foot] = turn.children; // their classes are set later
  name(turn, `Question ${number} and its answer`, "article");
  name(question, "You asked");
  name(answer, "Claude answered");
  name(approval, `May this tool run for answer ${number}?`);
  name(foot, `Answer ${number}`);
}

// Returns the outputs of the cells that show the panel.
function ownOutputs(model) {
  const ofCells = [...(notebookOf(model)?.cells ?? [])].map((cell) => cell.outputs).filter(Boolean);
  const isPanel = (output) => output.data?.[VIEW_MIME]?.model_id === model.get("panel_id");
  return ofCells.filter((outputs) => listed(outputs).some(isPanel));
}

const showsPanel = (model, cell) =>
  (cell.outputs ?? []).some((output) => output.data?.[VIEW_MIME]?.model_id === model.get("panel_id"));

const listed = (outputs) => Array.from({ length: outputs.length }, (_, index) => outputs.get(index));

function compareOutputs(model, { keys, gone }) {
  const held = new Set();
  const all = ownOutputs(model);
  for (const outputs of all)
    listed(outputs).forEach((output, index) => {
      const key = output.metadata?.[KEY];
      held.add(key);
      if (gone.includes(key)) outputs.set(index, NOTHING);
    });
  const missing = keys.filter((key) => !held.has(key));
  if (all.length && missing.length) model.send({ missing });
}

function addOutputs(model, outputs) {
  const all = ownOutputs(model);
  const held = new Set(all.flatMap(listed).map((output) => output.metadata?.[KEY]));
  for (const output of outputs) if (!held.has(output.metadata[KEY])) all.at(-1)?.add(output);
}
