// What the clients of the rig have in common: notes on what a client did on the wire, and commands as JSON lines.
//
// With --serve a client reads one JSON command per line of its input and writes one JSON answer per line of its output,
// the first of which says {"ready": true, "address"}:
//   {"id", "op", …} → {"id", "result"} or {"id", "error"}
// The operation that all have: {"op": "pay", "url", "method"?, "headers"?, "body"?}
//   → {"status", "headers", "body", "paymentResponse", "requests"}; each of "requests" is what the client really did:
//     {"status", "headers", "paymentRequired", "paymentHeader", "paymentSignature"} where the last two are the name and
//     value of the payment header that it sent, or null.
import { createInterface } from "node:readline";

/** Decoded base64 of JSON, or null. */
function decode(value) {
  try {
    return JSON.parse(Buffer.from(value, "base64").toString("utf8"));
  } catch {
    return null;
  }
}

/** The payment in a request, given a function that gets a header of it. */
export function notePayment(header) {
  for (const name of ["PAYMENT-SIGNATURE", "X-PAYMENT"]) {
    const value = header(name);
    if (value) return { paymentHeader: name, paymentSignature: value };
  }
  return { paymentHeader: null, paymentSignature: null };
}

/** The decoded challenge in a response: the header of v2, or the body. */
export function readChallenge(status, headers, body) {
  if (status !== 402) return null;
  if (headers["payment-required"]) return decode(headers["payment-required"]);
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

/** The decoded receipt in the headers of a response. */
export function readReceipt(headers) {
  const receipt = headers["payment-response"] ?? headers["x-payment-response"];
  return receipt ? decode(receipt) : null;
}

/** A `fetch` that pushes a note on each request into `requests`. */
export function notingFetch(requests) {
  return async (input, init) => {
    const request = new Request(input, init);
    const note = notePayment((name) => request.headers.get(name));
    requests.push(note);
    const response = await fetch(request);
    note.status = response.status;
    note.headers = Object.fromEntries(response.headers);
    note.paymentRequired = response.status === 402 ? readChallenge(402, note.headers, await response.clone().text()) : null;
    return response;
  };
}

/** What `pay` answers, from a `fetch` response. */
export async function describeResponse(response, requests) {
  const headers = Object.fromEntries(response.headers);
  const body = await response.text();
  return { status: response.status, headers, body, paymentResponse: readReceipt(headers), requests };
}

/** `fetch failed` says nothing; its cause does. */
export function describeError(error) {
  const cause = error?.cause ? ` (${error.cause.code ?? error.cause.message ?? error.cause})` : "";
  return `${error?.message ?? error}${cause}`;
}

export function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Serves commands until the input ends. */
export function serve(address, operations) {
  print({ ready: true, address });
  createInterface({ input: process.stdin }).on("line", async (line) => print(await answer(line, operations)));
}

async function answer(line, operations) {
  let id = null;
  try {
    const command = JSON.parse(line);
    id = command.id ?? null;
    const operation = operations[command.op];
    if (!operation) throw new Error(`No such operation: ${command.op}`);
    return { id, result: await operation(command) };
  } catch (error) {
    return { id, error: describeError(error) };
  }
}
