// The buttons under the answers of cells. They stand in the page and not in the notebook, so that no file has them. It is loaded
// behind `display/_page.js`, whose functions it calls.
//
// The model of a notebook does not know the elements of its cells. So a view of this widget is put among the outputs of a cell,
// for as long as it takes to see in which element that appears.

const UNTIL_GIVEN_UP = 30_000; // ms; a cell whose outputs are folded away shows nothing
const seekers = new Map(); // by the widget's id: what waits for the element of a cell

export default {
  // Once per page.
  initialize({ model }) {
    const page = { model, bars: new Map(), turn: Promise.resolve() };
    const deeds = {
      offer: (told) => (page.turn = page.turn.then(() => offer(page, told))),
      withdraw: ({ cell }) => page.bars.get(cell)?.remove(),
      copy: async ({ cell, text }) =>
        page.bars.get(cell)?.say((await copy(text)) ? "Copied." : "The browser does not allow copying here."),
      insert: ({ cell, text, kind, remark }) => {
        const isBelow = insertCell(model, text, kind, (each) => each.id === cell);
        page.bars.get(cell)?.say(isBelow ? remark || "Inserted below." : "This front end lets nobody insert cells.");
      },
      tell: ({ cell, text }) => page.bars.get(cell)?.say(text),
    };
    let isHeard = false;
    const act = (message) => {
      isHeard = true;
      deeds[message.do]?.(message);
    };
    const removeAll = () => [...page.bars.values()].forEach((bar) => bar.remove());
    const forgetKernel = watchKernel(model, removeAll);
    model.on("msg:custom", act);
    const name = `${Date.now()}-${Math.random()}`;
    // Again and again: the kernel makes the widget on a thread, and may not listen yet.
    const present = () => !isHeard && model.send({ page: name });
    const presenting = setInterval(() => (isHeard ? clearInterval(presenting) : present()), 1000);
    present();
    return () => {
      clearInterval(presenting);
      model.off("msg:custom", act);
      forgetKernel();
      removeAll();
    };
  },

  render({ model, el }) {
    let frame = requestAnimationFrame(function look() {
      const cell = el.closest(".jp-CodeCell");
      if (cell) seekers.get(model.get("own_id"))?.(cell);
      else frame = requestAnimationFrame(look);
    });
    return () => cancelAnimationFrame(frame);
  },
};

// A page in the background draws nothing.
async function untilVisible() {
  while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

async function offer(page, { widget, number, cell: id, has_text: hasText, can_retry: canRetry }) {
  const cell = [...(notebookOf(page.model)?.cells ?? [])].find((each) => each.id === id);
  page.bars.get(id)?.remove();
  if (!cell?.outputs?.length || !cell.sharedModel?.updateOutputs) return;
  await untilVisible();
  const element = await elementOf(page, cell, widget);
  if (!element || !cell.outputs.length) return;
  const bar = makeBar(page, id, { hasText, canRetry });
  const watch = () => {
    if (!cell.outputs.length) bar.remove(); // the cell is run again, or its outputs are cleared
  };
  cell.outputs.changed.connect(watch);
  page.bars.set(id, {
    say: bar.say,
    remove: () => {
      cell.outputs.changed.disconnect(watch);
      bar.element.remove();
      page.bars.delete(id);
    },
  });
  bar.remove = () => {
    page.bars.get(id)?.remove();
    page.model.send({ gone: id, number });
  };
  element.append(bar.element);
}

function elementOf(page, cell, widget) {
  const notebook = notebookOf(page.model);
  const shared = cell.sharedModel; // what is saved; removing from `cell.outputs` would leave it there (JupyterLab 4.6)
  const wasDirty = notebook.dirty;
  const data = { [VIEW_MIME]: { version_major: 2, version_minor: 0, model_id: widget } };
  return new Promise((resolve) => {
    const done = (element) => {
      clearTimeout(timer);
      seekers.delete(widget);
      const index = shared.getOutputs().findIndex((output) => output.data?.[VIEW_MIME]?.model_id === widget);
      if (index >= 0) shared.updateOutputs(index, index + 1, []);
      notebook.dirty = wasDirty;
      resolve(element);
    };
    const timer = setTimeout(done, UNTIL_GIVEN_UP);
    seekers.set(widget, done);
    const end = shared.getOutputs().length;
    shared.updateOutputs(end, end, [{ output_type: "display_data", data, metadata: {} }]);
  });
}

function makeBar(page, cell, { hasText, canRetry }) {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const element = make("div", { className: "claude-magic-cell-actions" });
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", "This answer");
  element.dataset.lmSuppressShortcuts = "true"; // Enter presses a button, and does not edit the cell
  const send = (act, name = "") => page.model.send({ act, cell, name });
  const button = (label, title, onclick) => element.append(make("button", { type: "button", textContent: label, title, onclick }));
  const name = make("input", { type: "text", placeholder: "name, then Enter", hidden: true });
  name.setAttribute("aria-label", "Name of the variable");
  name.onkeydown = (event) => {
    if (event.key === "Enter" && name.value.trim()) send("keep", name.value.trim());
    if (["Enter", "Escape"].includes(event.key)) name.hidden = true;
  };
  const status = make("span", {});
  status.setAttribute("role", "status");
  if (hasText) {
    button("Copy", "Copy the answer as Markdown", () => send("copy"));
    button("New cell", "Put the answer's code, or its text, into a new cell", () => send("insert"));
    button("Variable", "Give the answer a name in the notebook", () => {
      name.hidden = !name.hidden;
      if (!name.hidden) name.focus();
    });
    element.append(name);
  }
  if (canRetry) button("Retry", "Ask the same question again", () => send("retry"));
  element.append(status);
  return { element, say: (text) => (status.textContent = text) };
}
