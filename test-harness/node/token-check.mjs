// Checks the test token against what USDC v2.2 does, by calls that official x402 code does not make.
//
//   RPC_URL=… node token-check.mjs        exits with 0 if all holds
//
// The chain must have the token at its address and Anvil's accounts.
import assert from "node:assert/strict";
import { createTestClient, defineChain, hexToBigInt, http, numberToHex, parseAbi, parseSignature, publicActions, walletActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const NEVER = 2n ** 256n - 1n;
// Anvil's accounts 4, 5 and 6.
const payer = privateKeyToAccount("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a");
const payee = privateKeyToAccount("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba");
const other = privateKeyToAccount("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e");

const chain = defineChain({
  id: 84532,
  name: "rig",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [process.env.RPC_URL] } },
});
const client = createTestClient({ mode: "anvil", chain, transport: http(), pollingInterval: 20 })
  .extend(publicActions)
  .extend(walletActions);

const abi = parseAbi([
  "function name() view returns (string)",
  "function symbol() view returns (string)",
  "function version() view returns (string)",
  "function decimals() view returns (uint8)",
  "function totalSupply() view returns (uint256)",
  "function DOMAIN_SEPARATOR() view returns (bytes32)",
  "function balanceOf(address) view returns (uint256)",
  "function allowance(address, address) view returns (uint256)",
  "function authorizationState(address, bytes32) view returns (bool)",
  "function mint(address, uint256) returns (bool)",
  "function transfer(address, uint256) returns (bool)",
  "function transferFrom(address, address, uint256) returns (bool)",
  "function blacklist(address)",
  "function unBlacklist(address)",
  "function transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)",
  "function transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes)",
  "function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)",
  "function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes)",
  "function cancelAuthorization(address, bytes32, uint8, bytes32, bytes32)",
  "function cancelAuthorization(address, bytes32, bytes)",
  "function permit(address, address, uint256, uint256, uint8, bytes32, bytes32)",
  "function permit(address, address, uint256, uint256, bytes)",
]);

const read = (functionName, ...args) => client.readContract({ address: TOKEN, abi, functionName, args });

async function send(account, functionName, ...args) {
  const { request } = await client.simulateContract({ account, address: TOKEN, abi, functionName, args });
  const receipt = await client.waitForTransactionReceipt({ hash: await client.writeContract(request) });
  assert.equal(receipt.status, "success");
  return receipt;
}

async function refused(because, ...call) {
  await assert.rejects(send(...call), (error) => {
    assert.match(error.message, because);
    return true;
  });
}

const domain = { name: "USDC", version: "2", chainId: 84532, verifyingContract: TOKEN };
const AUTHORIZATION = ["from", "to"].map((name) => ({ name, type: "address" })).concat(
  ["value", "validAfter", "validBefore"].map((name) => ({ name, type: "uint256" })),
  [{ name: "nonce", type: "bytes32" }],
);

let nonces = 0;
const freshNonce = () => numberToHex((nonces += 1), { size: 32 });

async function authorize(primaryType, changes = {}) {
  const message = { from: payer.address, to: payee.address, value: 100n, validAfter: 0n, validBefore: NEVER, nonce: freshNonce(), ...changes };
  const signature = await payer.signTypedData({ domain, types: { [primaryType]: AUTHORIZATION }, primaryType, message });
  return { args: Object.values(message), nonce: message.nonce, signature, ...parts(signature) };
}

function parts(signature) {
  const { r, s, v } = parseSignature(signature);
  return { vrs: [Number(v), r, s], twin: [v === 27n ? 28 : 27, r, numberToHex(ORDER - hexToBigInt(s), { size: 32 })] };
}

async function permission(value, deadline = NEVER, nonce = 0n) {
  const types = { Permit: ["owner", "spender"].map((name) => ({ name, type: "address" })).concat(["value", "nonce", "deadline"].map((name) => ({ name, type: "uint256" }))) };
  const message = { owner: payer.address, spender: other.address, value, nonce, deadline };
  return payer.signTypedData({ domain, types, primaryType: "Permit", message });
}

async function cancellation(nonce) {
  const types = { CancelAuthorization: [{ name: "authorizer", type: "address" }, { name: "nonce", type: "bytes32" }] };
  return payer.signTypedData({ domain, types, primaryType: "CancelAuthorization", message: { authorizer: payer.address, nonce } });
}

// Identity: the separator is that of USDC on Base Sepolia, by an independent computation.
assert.deepEqual(
  [await read("name"), await read("symbol"), await read("version"), await read("decimals")],
  ["USDC", "USDC", "2", 6],
);
assert.equal(await read("DOMAIN_SEPARATOR"), "0x71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818");

const supply = await read("totalSupply");
await send(other, "mint", payer.address, 10_000n);
assert.equal(await read("totalSupply"), supply + 10_000n);

// transferWithAuthorization: anybody may send it, once, in both forms.
for (const form of ["vrs", "bytes"]) {
  const before = await read("balanceOf", payee.address);
  const payment = await authorize("TransferWithAuthorization");
  const call = ["transferWithAuthorization", ...payment.args, ...(form === "vrs" ? payment.vrs : [payment.signature])];
  assert.equal(await read("authorizationState", payer.address, payment.nonce), false);
  const { logs } = await send(other, ...call);
  assert.equal(logs.length, 2, "AuthorizationUsed and Transfer");
  assert.equal(await read("authorizationState", payer.address, payment.nonce), true);
  assert.equal(await read("balanceOf", payee.address), before + 100n);
  await refused(/authorization is used or canceled/, other, ...call);
}

// Signatures: malleable twins, strangers' and altered payments.
const twin = await authorize("TransferWithAuthorization");
await refused(/invalid signature 's' value/, other, "transferWithAuthorization", ...twin.args, ...twin.twin);
const altered = await authorize("TransferWithAuthorization");
await refused(/FiatTokenV2: invalid signature/, other, "transferWithAuthorization", ...altered.args.with(2, 101n), altered.signature);

// The window excludes both ends.
const { timestamp } = await client.getBlock();
const early = await authorize("TransferWithAuthorization", { validAfter: timestamp + 1000n });
await refused(/not yet valid/, other, "transferWithAuthorization", ...early.args, early.signature);
const late = await authorize("TransferWithAuthorization", { validBefore: timestamp });
await refused(/is expired/, other, "transferWithAuthorization", ...late.args, late.signature);

// receiveWithAuthorization: only the payee; the two kinds of signature do not stand for each other.
for (const form of ["vrs", "bytes"]) {
  const receipt = await authorize("ReceiveWithAuthorization");
  const tail = form === "vrs" ? receipt.vrs : [receipt.signature];
  await refused(/caller must be the payee/, other, "receiveWithAuthorization", ...receipt.args, ...tail);
  await refused(/invalid signature/, other, "transferWithAuthorization", ...receipt.args, ...tail);
  await send(payee, "receiveWithAuthorization", ...receipt.args, ...tail);
}

// cancelAuthorization, in both forms.
for (const form of ["vrs", "bytes"]) {
  const payment = await authorize("TransferWithAuthorization");
  const signature = await cancellation(payment.nonce);
  const { logs } = await send(other, "cancelAuthorization", payer.address, payment.nonce, ...(form === "vrs" ? parts(signature).vrs : [signature]));
  assert.equal(logs.length, 1, "AuthorizationCanceled");
  await refused(/authorization is used or canceled/, other, "transferWithAuthorization", ...payment.args, payment.signature);
}

// permit and transferFrom.
const permit = await permission(70n);
await send(other, "permit", payer.address, other.address, 70n, NEVER, ...parts(permit).vrs);
assert.equal(await read("allowance", payer.address, other.address), 70n);
await refused(/EIP2612: invalid signature/, other, "permit", payer.address, other.address, 70n, NEVER, permit);
await send(other, "permit", payer.address, other.address, 50n, NEVER, await permission(50n, NEVER, 1n));
await refused(/exceeds allowance/, other, "transferFrom", payer.address, other.address, 51n);
await send(other, "transferFrom", payer.address, other.address, 50n);
await refused(/permit is expired/, other, "permit", payer.address, other.address, 1n, timestamp - 1n, await permission(1n, timestamp - 1n, 2n));

// Balances and the blacklist.
const rich = await authorize("TransferWithAuthorization", { value: 10n ** 12n });
await refused(/transfer amount exceeds balance/, other, "transferWithAuthorization", ...rich.args, rich.signature);
await send(other, "blacklist", payer.address);
await refused(/account is blacklisted/, payer, "transfer", payee.address, 1n);
await send(other, "unBlacklist", payer.address);
await send(payer, "transfer", payee.address, 1n);

console.log("the token behaves");
