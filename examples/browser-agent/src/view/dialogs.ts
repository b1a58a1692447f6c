// The two dialogs: a question that only a person answers, and a receipt.
import { dollars } from "../money";
import { isProven, type Entry } from "../story";
import { el, facts, fill, type Child } from "./element";

/** A question for the person at the page. */
export interface Asked {
  title: string;
  lead: string;
  rows: [name: string, value: Child, code?: "code"][];
  yes: string;
  no: string;
}

/** Asks, and waits. Closing the dialog, by whatever way, is a no. */
export function ask(dialog: HTMLDialogElement, asked: Asked, signal?: AbortSignal): Promise<boolean> {
  fill(
    dialog,
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "approval-title" }, asked.title),
      el("p", {}, asked.lead),
      el("dl", { class: "facts" }, ...facts(asked.rows)),
      el(
        "div",
        { class: "buttons" },
        el("button", { value: "yes", class: "strong" }, asked.yes),
        // Enter must not spend money: the first thing that has the keyboard is the no.
        el("button", { value: "no", class: "quiet", autofocus: "" }, asked.no),
      ),
    ),
  );
  return new Promise((resolve) => {
    const stop = () => dialog.close("no");
    dialog.returnValue = "no";
    dialog.addEventListener(
      "close",
      () => {
        signal?.removeEventListener("abort", stop);
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
    signal?.addEventListener("abort", stop, { once: true });
    dialog.showModal();
    if (signal?.aborted) stop();
  });
}

/** What a receipt is, by its kind. */
const KINDS = { call: "The gate's receipt", payment: "x402's receipt" };

/** Opens the receipts of an errand. */
export function showReceipt(dialog: HTMLDialogElement, entry: Entry): void {
  const payment = entry.payment;
  if (!payment) return;
  const { reservation } = payment;
  const good = isProven(entry);
  const wrong = [...payment.faults, ...entry.receipts.flatMap((receipt) => receipt.wrong ?? [])];
  fill(
    dialog,
    el(
      "form",
      { method: "dialog", class: "paper" },
      el("h2", { id: "receipt-title" }, `Receipt: ${entry.title}`),
      el(
        "p",
        { class: good ? "verdict good" : "verdict bad" },
        good
          ? "Verified: signed with the shop's key, for this payment and this request."
          : `Not good: ${wrong.join(", ") || "there is none"}.`,
      ),
      el("p", { class: "amount" }, dollars(BigInt(payment.charged ?? reservation.amount))),
      el(
        "dl",
        { class: "facts" },
        ...facts([
          ["For", `${reservation.method} ${reservation.url}`, "code"],
          ["Decided", new Date(reservation.at * 1000).toLocaleString()],
          ["Paid to", reservation.payee, "code"],
          ["Paid by", reservation.payer, "code"],
          ["Transaction", payment.transaction, "code"],
          ["Signed with key", entry.receipts[0]?.signer, "code"],
        ]),
      ),
      ...entry.receipts.map(({ kind, claims, text }) =>
        el(
          "details",
          {},
          el("summary", {}, KINDS[kind]),
          sheet(`What ${KINDS[kind]} says`, JSON.stringify(claims, null, 2)),
          sheet(`${KINDS[kind]} as it was signed`, text),
        ),
      ),
      el("div", { class: "buttons" }, el("button", { class: "quiet", autofocus: "" }, "Close")),
    ),
  );
  dialog.showModal();
}

/** A text that scrolls, also by the keyboard. */
function sheet(label: string, text: string): HTMLElement {
  return el("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
}
