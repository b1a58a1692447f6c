// What every entry of `farebox/agent` has.
export { createAgent, detailsOf, importPolicy, paymentOf } from "./agent.js";
export { holderKey, webCryptoHolder } from "./holders.js";
export { indexedDbStore, memoryStore } from "./stores.js";
export type { IndexedDbOptions } from "./stores.js";
export { explanationText } from "./told.js";
export { contractWallet, ethersWallet, providerWallet, sessionKey, viemWallet } from "./wallets.js";
export type { ContractWalletOptions, EthersSigner, Provider, SessionKeyOptions, ViemAccount, WalletOptions } from "./wallets.js";
export type { WebCryptoHolderOptions } from "./holders.js";
export * from "./types.js";
