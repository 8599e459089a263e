// The part of a panel that runs in the browser. No build step: anywidget loads this file as it is.

const VIEW_MIME = "application/vnd.jupyter.widget-view+json";

export default {
  // Once per panel, however often it is shown.
  initialize({ model }) {
    const report = (outcome) => model.send({ outcome });
    const act = async ({ do: what, text, kind }) => {
      if (what === "insert" && insertCell(model, text, kind)) return report("Inserted below.");
      const copied = await copy(text);
      if (!copied) return report("The browser does not allow copying here.");
      report(what === "insert" ? "Copied: this front end lets nobody insert cells. Paste it into one." : "Copied.");
    };
    model.on("msg:custom", act);
    return () => model.off("msg:custom", act);
  },

  // Once per place where the panel is shown.
  render({ model, el }) {
    const panel = () => el.closest(".claude-magic-panel");
    const onKey = (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      const area = event.target.closest?.(".claude-magic-prompt")?.querySelector("textarea");
      if (!area || area.closest(".claude-magic-panel") !== panel()) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // the notebook would run the cell
      area.dispatchEvent(new Event("change", { bubbles: true })); // hands the text over, as leaving the field does
      panel().querySelector("button.claude-magic-send:not(:disabled)")?.click();
    };
    const tellBusy = () =>
      panel()?.querySelector(".claude-magic-conversation")?.setAttribute("aria-busy", model.get("is_busy"));
    // On the window, because notebooks take keys on the document before these reach anything in it.
    window.addEventListener("keydown", onKey, { capture: true });
    model.on("change:is_busy", tellBusy);
    let isShown = true;
    whenAttached(el, () => isShown).then((isAttached) => {
      if (!isAttached) return;
      label(panel());
      tellBusy();
    });
    return () => {
      isShown = false;
      window.removeEventListener("keydown", onKey, { capture: true });
      model.off("change:is_busy", tellBusy);
    };
  },
};

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
  panel.querySelector(".claude-magic-note")?.setAttribute("role", "status");
  panel.querySelector(".claude-magic-prompt textarea")?.setAttribute("aria-label", "Prompt for Claude");
}

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

// JupyterLab and Notebook 7 keep the notebook's model where a widget's manager can reach it.
function insertCell(model, source, kind) {
  const cells = model.widget_manager?.context?.model?.sharedModel;
  if (!cells?.insertCell) return false;
  const own = cells.cells.findIndex((cell) =>
    (cell.outputs ?? []).some((output) => output.data?.[VIEW_MIME]?.model_id === model.get("panel_id")),
  );
  cells.insertCell(own < 0 ? cells.cells.length : own + 1, { cell_type: kind, source, metadata: {} });
  return true;
}
