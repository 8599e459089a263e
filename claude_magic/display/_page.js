// Browser code shared by all widgets of this package. No build step: anywidget loads it as it is, before the code of a widget.

const VIEW_MIME = "application/vnd.jupyter.widget-view+json";
const RESTARTED = "The kernel was restarted";
const ENDED = "The kernel has ended";

// The kernel. When it is gone, widgets stay readable, but their controls are hidden. JupyterLab marks widgets after a restart,
// but not after a crash.

function watchKernel(model, onLost) {
  const session = model.widget_manager?.context?.sessionContext;
  const onStatus = (_, status) => {
    if (["restarting", "autorestarting"].includes(status)) onLost(RESTARTED);
    if (["dead", "terminating"].includes(status)) onLost(ENDED);
  };
  const onKernel = (_, { oldValue, newValue }) => {
    if (oldValue && oldValue.id !== newValue?.id) onLost(ENDED);
  };
  session?.statusChanged.connect(onStatus);
  session?.kernelChanged.connect(onKernel);
  return () => {
    session?.statusChanged.disconnect(onStatus);
    session?.kernelChanged.disconnect(onKernel);
  };
}

// Stylesheets hide the controls in an element of class `claude-magic-lost`.
function lose(root, reason, remedy = `${reason}: run this cell again.`) {
  if (!root || root.querySelector(":scope > .claude-magic-lost-line")) return;
  const line = document.createElement("div");
  line.className = "claude-magic-lost-line";
  line.setAttribute("role", "status");
  root.classList.add("claude-magic-lost");
  root.append(line);
  line.textContent = remedy;
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

// The only way to copy in insecure pages and in frames without permission.
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

// The notebook. In JupyterLab and Notebook 7, the widget manager has a reference to its model.

const notebookOf = (model) => model.widget_manager?.context?.model;

// Inserts a cell below the cell of the shared model for which `isAbove` is true; without such a cell, at the end.
function insertCell(model, source, kind, isAbove) {
  const cells = notebookOf(model)?.sharedModel;
  if (!cells?.insertCell) return false;
  const own = cells.cells.findIndex(isAbove);
  cells.insertCell(own < 0 ? cells.cells.length : own + 1, { cell_type: kind, source, metadata: {} });
  return true;
}
