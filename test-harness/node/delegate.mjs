// Makes an account of a key delegate to a contract by EIP-7702, with a transaction of type 4 from the account itself.
//
//   RPC_URL=… CHAIN_ID=… PRIVATE_KEY=0x… node delegate.mjs CONTRACT
import { createWalletClient, defineChain, http, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const { RPC_URL, CHAIN_ID = "84532", PRIVATE_KEY } = process.env;
const [contractAddress] = process.argv.slice(2);
if (!RPC_URL || !PRIVATE_KEY || !contractAddress) {
  console.error("usage: RPC_URL=… PRIVATE_KEY=0x… node delegate.mjs CONTRACT");
  process.exit(2);
}

const chain = defineChain({
  id: Number(CHAIN_ID),
  name: "rig",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [RPC_URL] } },
});
const account = privateKeyToAccount(PRIVATE_KEY);
const client = createWalletClient({ account, chain, transport: http(RPC_URL), pollingInterval: 20 }).extend(publicActions);
const authorization = await client.signAuthorization({ contractAddress, executor: "self" });
const hash = await client.sendTransaction({ to: account.address, authorizationList: [authorization] });
const { status, type } = await client.waitForTransactionReceipt({ hash });
if (status !== "success") throw new Error(`The transaction ${hash} failed`);
console.log(`${hash} (${type})`);
