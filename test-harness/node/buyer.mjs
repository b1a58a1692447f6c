// An x402 buyer: the official `@x402/fetch` client with the official exact EVM scheme (v2 and v1), unmodified, with
// its default spend controls. This file only hands it a `fetch` that takes notes.
//
//   node buyer.mjs URL [--method M] [--body B] [--header 'Name: value']…   pay for one request
//   node buyer.mjs --sign-only CHALLENGE     sign for a PAYMENT-REQUIRED value (or a v1 402 body), do not send
//   node buyer.mjs --serve                   one JSON command per stdin line, one JSON answer per stdout line
//
// Environment
//   PRIVATE_KEY      the key that signs; Anvil's account 0 if absent
//   PAYER_CONTRACT   address of a contract account that PRIVATE_KEY signs for (ERC-1271)
//
// Commands of --serve: {"id", "op": "pay", "url", "method"?, "headers"?, "body"?}
//                      {"id", "op": "sign", "challenge"}     base64 text or a PaymentRequired object
//                      {"id", "op": "sign-typed-data", "typedData"}
// Answers:             {"id", "result"} or {"id", "error"}
//
// Result of pay: {"status", "headers", "body", "paymentResponse", "requests"}; each of "requests" is what the client
// really did: {"status", "headers", "paymentRequired", "paymentHeader", "paymentSignature"} where the last two are
// the name and value of the payment header that it sent, or null.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { decodePaymentRequiredHeader, decodePaymentResponseHeader } from "@x402/core/http";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client, x402HTTPClient } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const ANVIL_ACCOUNT_0 = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const { PRIVATE_KEY = ANVIL_ACCOUNT_0, PAYER_CONTRACT } = process.env;
const account = privateKeyToAccount(PRIVATE_KEY);

/** What the official scheme signs with: the key itself, or the key on behalf of a contract account. */
const signer = PAYER_CONTRACT
  ? {
      address: PAYER_CONTRACT,
      // The extra byte keeps official code from taking it for a plain ECDSA signature; see contracts/OwnedWallet.sol.
      signTypedData: async (typedData) => `${await account.signTypedData(typedData)}00`,
    }
  : account;

const client = new x402Client();
registerExactEvmScheme(client, { signer });

/** Pays for one request with the official client, and tells what happened on the wire. */
async function pay({ url, method = "GET", headers = {}, body }) {
  const requests = [];
  const notingFetch = async (request) => {
    const note = describeRequest(request);
    requests.push(note);
    const response = await fetch(request);
    note.status = response.status;
    note.headers = Object.fromEntries(response.headers);
    note.paymentRequired = await readChallenge(response);
    return response;
  };
  const response = await wrapFetchWithPayment(notingFetch, client)(url, { method, headers, body });
  const receipt = response.headers.get("payment-response") ?? response.headers.get("x-payment-response");
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
    paymentResponse: receipt ? decodePaymentResponseHeader(receipt) : null,
    requests,
  };
}

function describeRequest(request) {
  for (const name of ["PAYMENT-SIGNATURE", "X-PAYMENT"]) {
    const value = request.headers.get(name);
    if (value !== null) return { paymentHeader: name, paymentSignature: value };
  }
  return { paymentHeader: null, paymentSignature: null };
}

async function readChallenge(response) {
  if (response.status !== 402) return null;
  const header = response.headers.get("payment-required");
  try {
    return header === null ? await response.clone().json() : decodePaymentRequiredHeader(header);
  } catch {
    return null;
  }
}

/** The payment header that the official client would send for a challenge. */
async function sign({ challenge }) {
  const paymentRequired = typeof challenge === "string" ? parseChallenge(challenge) : challenge;
  const payload = await client.createPaymentPayload(paymentRequired);
  const [[header, value]] = Object.entries(new x402HTTPClient(client).encodePaymentSignatureHeader(payload));
  return { header, value, payload };
}

function parseChallenge(text) {
  return text.trimStart().startsWith("{") ? JSON.parse(text) : decodePaymentRequiredHeader(text);
}

/** Any EIP-712 signature of the key, for what the official client does not sign (a cancellation, a permit). */
async function signTypedData({ typedData }) {
  return { signature: await account.signTypedData(typedData) };
}

const operations = { pay, sign, "sign-typed-data": signTypedData };

async function answer(line) {
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

/** `fetch failed` says nothing; its cause does. */
function describeError(error) {
  const cause = error?.cause ? ` (${error.cause.code ?? error.cause.message ?? error.cause})` : "";
  return `${error?.message ?? error}${cause}`;
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    method: { type: "string" },
    body: { type: "string" },
    header: { type: "string", multiple: true, default: [] },
    serve: { type: "boolean" },
    "sign-only": { type: "string" },
  },
});

if (options.serve) {
  print({ ready: true, address: signer.address });
  createInterface({ input: process.stdin }).on("line", async (line) => print(await answer(line)));
} else if (options["sign-only"]) {
  print(await sign({ challenge: options["sign-only"] }));
} else if (positionals.length === 1) {
  const headers = Object.fromEntries(
    options.header.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
  try {
    print(await pay({ url: positionals[0], method: options.method, headers, body: options.body }));
  } catch (error) {
    console.error(describeError(error));
    process.exit(1);
  }
} else {
  console.error("usage: node buyer.mjs URL [--method M] [--body B] [--header 'Name: value'] | --sign-only CHALLENGE | --serve");
  process.exit(2);
}
