// Pays for one GET with the official x402 client.
//
//   npm install
//   PRIVATE_KEY=0x… node buyer.mjs http://localhost:8080/reports/1
//
// The key signs; it sends no transaction and needs no gas. Take one that holds only what the buyer may spend.
import { decodePaymentResponseHeader } from "@x402/core/http";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const url = process.argv.at(-1);
const client = new x402Client();
registerExactEvmScheme(client, { signer: privateKeyToAccount(process.env.PRIVATE_KEY) });

const response = await wrapFetchWithPayment(fetch, client)(url);
const receipt = response.headers.get("payment-response");
if (receipt) console.error("paid:", decodePaymentResponseHeader(receipt));
// A refusal says in `advice` what to do about it: docs/profile.md.
console.log(response.status, await response.text());
