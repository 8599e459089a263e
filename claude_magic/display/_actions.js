// Buttons under the answers of cells. They are part of the page, not of the notebook, so they are not saved. Loaded after
// `display/_page.js`, whose functions it uses.
//
// The model of a notebook has no access to the elements of its cells, so each answer has a class that identifies its cell.

const RECHECK = 250; // ms
const MAX_WAIT = 600_000; // ms; a cell far outside the viewport is not in the document

export default {
  // Once per page.
  initialize({ model }) {
    const page = { model, bars: new Map(), offers: new Map() };
    const actions = {
      offer: (offered) => offer(page, offered),
      withdraw: ({ cell }) => {
        page.offers.delete(cell);
        page.bars.get(cell)?.remove();
      },
      copy: async ({ cell, text }) =>
        page.bars.get(cell)?.say((await copy(text)) ? "Copied." : "The browser does not allow copying here."),
      insert: ({ cell, text, kind, remark }) => {
        const isBelow = insertCell(model, text, kind, (each) => each.id === cell);
        page.bars.get(cell)?.say(isBelow ? remark || "Inserted below." : "This front end cannot insert cells.");
      },
      tell: ({ cell, text, is_kept: isKept }) => {
        page.bars.get(cell)?.say(text);
        if (isKept) page.bars.get(cell)?.hideName();
      },
    };
    let isReady = false;
    const act = (message) => {
      isReady = true;
      actions[message.do]?.(message);
    };
    const removeAll = () => {
      page.offers.clear();
      [...page.bars.values()].forEach((bar) => bar.remove());
    };
    const forgetKernel = watchKernel(model, removeAll);
    model.on("msg:custom", act);
    const name = `${Date.now()}-${Math.random()}`;
    // Repeated, because the kernel creates the widget on a thread and may not be ready yet.
    const announce = () => !isReady && model.send({ page: name });
    const announcing = setInterval(() => (isReady ? clearInterval(announcing) : announce()), 1000);
    announce();
    return () => {
      clearInterval(announcing);
      model.off("msg:custom", act);
      forgetKernel();
      removeAll();
    };
  }
};

async function offer(page, { number, cell: id, mark, has_text: hasText, can_retry: canRetry }) {
  page.offers.set(id, number);
  page.bars.get(id)?.remove();
  const isOffered = () => page.offers.get(id) === number && cellOf(page, id)?.outputs?.length;
  const element = await elementOf(mark, isOffered);
  if (!element) return;
  const { outputs } = cellOf(page, id);
  const bar = makeBar(page, id, { hasText, canRetry });
  const watch = () => {
    if (outputs.length) return;
    // The cell runs again, or its outputs were cleared.
    page.bars.get(id)?.remove();
    page.model.send({ gone: id, number });
  };
  outputs.changed.connect(watch);
  page.bars.set(id, {
    say: bar.say,
    hideName: bar.hideName,
    remove: () => {
      outputs.changed.disconnect(watch);
      bar.element.remove();
      page.bars.delete(id);
    },
  });
  element.append(bar.element);
}

const cellOf = (page, id) => [...(notebookOf(page.model)?.cells ?? [])].find((each) => each.id === id);

// Resolves with the element of the answer's cell once it is in the document; with null if the offer is withdrawn before.
async function elementOf(mark, isOffered) {
  for (let waited = 0; waited < MAX_WAIT && isOffered(); waited += RECHECK) {
    const element = document.querySelector(`.jp-CodeCell .${CSS.escape(mark)}`)?.closest(".jp-CodeCell");
    if (element) return element;
    await new Promise((done) => setTimeout(done, RECHECK));
  }
  return null;
}

function makeBar(page, cell, { hasText, canRetry }) {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const element = make("div", { className: "claude-magic-cell-actions" });
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", "This answer");
  element.dataset.lmSuppressShortcuts = "true"; // Enter presses a button instead of editing the cell
  const send = (act, name = "") => page.model.send({ act, cell, name });
  const button = (label, title, onclick) => element.append(make("button", { type: "button", textContent: label, title, onclick }));
  const name = make("input", { type: "text", placeholder: "name, then Enter", hidden: true });
  name.setAttribute("aria-label", "Name of the variable");
  name.onkeydown = (event) => {
    if (event.key === "Enter" && name.value.trim()) send("keep", name.value.trim());
    if (event.key === "Escape") name.hidden = true;
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
  // A name that was refused stays, to be corrected.
  return { element, say: (text) => (status.textContent = text), hideName: () => (name.hidden = true) };
}
