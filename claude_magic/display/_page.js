// What the browser does for widgets of ours. No build step: anywidget loads these lines as they are, before those of a widget.

const VIEW_MIME = "application/vnd.jupyter.widget-view+json";
const RESTARTED = "The kernel was restarted";
const ENDED = "The kernel has ended";

// The kernel. What its widgets show can still be read when it is gone; what would not be heard is taken away. JupyterLab marks
// widgets after a restart, but not after a crash.

function watchKernel(model, tell) {
  const session = model.widget_manager?.context?.sessionContext;
  const onStatus = (_, status) => {
    if (["restarting", "autorestarting"].includes(status)) tell(RESTARTED);
    if (["dead", "terminating"].includes(status)) tell(ENDED);
  };
  const onKernel = (_, { oldValue, newValue }) => {
    if (oldValue && oldValue.id !== newValue?.id) tell(ENDED);
  };
  session?.statusChanged.connect(onStatus);
  session?.kernelChanged.connect(onKernel);
  return () => {
    session?.statusChanged.disconnect(onStatus);
    session?.kernelChanged.disconnect(onKernel);
  };
}

// Stylesheets hide what is of no use in an element of class `claude-magic-lost`.
function lose(root, reason) {
  if (!root || root.querySelector(":scope > .claude-magic-lost-line")) return;
  const line = document.createElement("div");
  line.className = "claude-magic-lost-line";
  line.setAttribute("role", "status");
  root.classList.add("claude-magic-lost");
  root.append(line);
  line.textContent = `${reason}: run this cell again.`;
}

// The clipboard...

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// Pages that are not served safely, and frames without permission, have no clipboard but this one.
function copyBySelection(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.style.cssText = "position:fixed;opacity:0";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus?.();
  return isCopied;
}

// The notebook. JupyterLab and Notebook 7 keep its model where a widget's manager can reach it.

const notebookOf = (model) => model.widget_manager?.context?.model;

// `isAbove` says of a cell of the shared model whether the new one goes below it; without such a cell it goes to the end.
function insertCell(model, source, kind, isAbove) {
  const cells = notebookOf(model)?.sharedModel;
  if (!cells?.insertCell) return false;
  const own = cells.cells.findIndex(isAbove);
  cells.insertCell(own < 0 ? cells.cells.length : own + 1, { cell_type: kind, source, metadata: {} });
  return true;
}
