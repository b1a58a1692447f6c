// The two dialogs: a question that only a person answers, and a receipt.
import { dollars } from "../money";
import { claims, type Entry } from "../story";
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

/** Opens the receipt of an errand. */
export function showReceipt(dialog: HTMLDialogElement, entry: Entry): void {
  const payment = entry.payment;
  if (!payment) return;
  const { reservation, receiptJws } = payment;
  const good = payment.receipt !== undefined && payment.faults.length === 0;
  const said = claims(receiptJws);
  const issued = said.issuedAt ?? said.iat;
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
          : `Not good: ${payment.faults.join(", ") || "nobody who counts has signed it"}.`,
      ),
      el("p", { class: "amount" }, dollars(BigInt(payment.charged ?? reservation.amount))),
      el(
        "dl",
        { class: "facts" },
        ...facts([
          ["For", `${reservation.method} ${reservation.url}`, "code"],
          ["Issued", typeof issued === "number" ? new Date(issued * 1000).toLocaleString() : undefined],
          ["Paid to", reservation.payee, "code"],
          ["Paid by", reservation.payer, "code"],
          ["Transaction", payment.transaction, "code"],
          ["Signed with key", payment.receipt, "code"],
        ]),
      ),
      receiptJws !== undefined &&
        el(
          "details",
          {},
          el("summary", {}, "As it was signed"),
          el("pre", { tabindex: "0", role: "region", "aria-label": "What it says" }, JSON.stringify(said, null, 2)),
          el("pre", { tabindex: "0", role: "region", "aria-label": "The receipt as a JWS" }, receiptJws),
        ),
      el("div", { class: "buttons" }, el("button", { class: "quiet", autofocus: "" }, "Close")),
    ),
  );
  dialog.showModal();
}
