// An x402 buyer: the official `@x402/fetch` client with the official EVM schemes (exact in v2 and v1, upto), unmodified,
// with its default spend controls. This file only hands it a `fetch` that takes notes.
//
//   node buyer.mjs URL [--method M] [--body B] [--header 'Name: value']…   pay for one request
//   node buyer.mjs --sign-only CHALLENGE     sign for a PAYMENT-REQUIRED value (or a v1 402 body), do not send
//   node buyer.mjs --serve                   one JSON command per stdin line, one JSON answer per stdout line
//
// Environment
//   PRIVATE_KEY      the key that signs; Anvil's account 0 if absent
//   PAYER_CONTRACT   address of a contract account that PRIVATE_KEY signs for (ERC-1271)
//   FACTORY, FACTORY_DATA   how that account comes to be, if it is not there yet (ERC-6492)
//
// Commands of --serve (see wire.mjs): {"op": "pay", …}
//                                     {"op": "sign", "challenge"}     base64 text or a PaymentRequired object
//                                     {"op": "sign-typed-data", "typedData"}
import { parseArgs } from "node:util";
import { decodePaymentRequiredHeader } from "@x402/core/http";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { wrapFetchWithPayment, x402Client, x402HTTPClient } from "@x402/fetch";
import { serializeErc6492Signature } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { describeError, describeResponse, notingFetch, print, serve } from "./wire.mjs";

const ANVIL_ACCOUNT_0 = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const { PRIVATE_KEY = ANVIL_ACCOUNT_0, PAYER_CONTRACT, FACTORY, FACTORY_DATA } = process.env;
const account = privateKeyToAccount(PRIVATE_KEY);

/** What the official scheme signs with: the key itself, or the key on behalf of a contract account. */
const signer = PAYER_CONTRACT
  ? {
      address: PAYER_CONTRACT,
      // The extra byte keeps official code from taking it for a plain ECDSA signature; see contracts/OwnedWallet.sol.
      signTypedData: async (typedData) => {
        const signature = `${await account.signTypedData(typedData)}00`;
        return FACTORY ? serializeErc6492Signature({ address: FACTORY, data: FACTORY_DATA, signature }) : signature;
      },
    }
  : account;

const client = new x402Client();
registerExactEvmScheme(client, { signer });
client.register("eip155:*", new UptoEvmScheme(signer));

/** Pays for one request with the official client, and tells what happened on the wire. */
async function pay({ url, method = "GET", headers = {}, body }) {
  const requests = [];
  const response = await wrapFetchWithPayment(notingFetch(requests), client)(url, { method, headers, body });
  return describeResponse(response, requests);
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
  serve(signer.address, operations);
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
