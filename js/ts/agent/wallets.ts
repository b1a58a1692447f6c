// Wallets: whoever holds the keys, as a port.
import { AgentError, type Hex, type TypedData, type Wallet, type WalletAccount } from "./types.js";

/** What is said of a wallet's accounts. */
export interface WalletOptions {
  /** CAIP-2 networks that they are used on; all if absent. */
  networks?: string[];
  /** How they can pay; by EIP-3009 alone if absent. `permit2` only where they have approved Permit2 for the token. */
  transfers?: ("eip3009" | "permit2")[];
}

/** As much of a viem account as is needed: `privateKeyToAccount(…)`, `toAccount(…)`. */
export interface ViemAccount {
  address: string;
  signTypedData?: ((typedData: never) => Promise<string>) | undefined;
}

/** A viem account that signs by itself. */
export function viemWallet(account: ViemAccount, options: WalletOptions = {}): Wallet {
  const sign = account.signTypedData;
  if (sign === undefined) throw new AgentError("wallet", "this account signs elsewhere: use providerWallet()");
  return {
    accounts: () => [{ address: account.address, ...options }],
    sign: (_account, typedData) => sign.call(account, counted(typedData) as never),
  };
}

/** As much of an ethers signer as is needed. */
export interface EthersSigner {
  getAddress(): Promise<string>;
  signTypedData(domain: never, types: never, value: never): Promise<string>;
}

/** An ethers (6) signer. */
export function ethersWallet(signer: EthersSigner, options: WalletOptions = {}): Wallet {
  return {
    accounts: async () => [{ address: await signer.getAddress(), ...options }],
    sign: (_account, { domain, types: { EIP712Domain: _, ...types }, message }) =>
      signer.signTypedData(domain as never, types as never, message as never),
  };
}

/** An EIP-1193 provider: an extension of the browser, or a bridge to a hardware wallet. */
export interface Provider {
  request(request: { method: string; params?: unknown[] }): Promise<unknown>;
}

/**
 * An EIP-1193 provider. It is asked for its accounts (`eth_requestAccounts`, which may open a window) when the agent first
 * needs them, unless they are given; and for each signature (`eth_signTypedData_v4`), which the person sees in full. Before
 * it signs for another chain than it is on, it is asked to change (`wallet_switchEthereumChain`).
 */
export function providerWallet(provider: Provider, options: WalletOptions & { accounts?: string[] } = {}): Wallet {
  const { accounts, ...rest } = options;
  return {
    async accounts() {
      const addresses = accounts ?? (await provider.request({ method: "eth_requestAccounts" }));
      if (!Array.isArray(addresses)) throw new AgentError("wallet", "the provider gave no accounts");
      return addresses.map((address) => ({ address: String(address), ...rest }));
    },
    async sign(account, typedData) {
      const wanted = `0x${Number(typedData.domain["chainId"]).toString(16)}`;
      const found = String(await provider.request({ method: "eth_chainId" })).toLowerCase();
      if (BigInt(found) !== BigInt(wanted)) {
        await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: wanted }] });
      }
      return String(
        await provider.request({ method: "eth_signTypedData_v4", params: [account, JSON.stringify(typedData)] }),
      );
    },
  };
}

/** What is said of a session key's account. */
export type SessionKeyOptions = WalletOptions;

/**
 * A secp256k1 key of an account of its own, with little money on it. It lives inside the WebAssembly instance of the first
 * agent that gets it, signs payments there and nothing else, and is wiped when that agent is closed.
 *
 * @param secret 32 bytes, which are wiped here; or the same as `0x` and hexadecimal digits, which JavaScript cannot wipe.
 */
export function sessionKey(secret: Uint8Array | Hex, options: SessionKeyOptions = {}): Wallet {
  let bytes = typeof secret === "string" ? fromHex(secret) : secret;
  if (bytes.length !== 32) throw new AgentError("wallet", "a session key has 32 bytes");
  return {
    accounts: (own) => (own === undefined ? [] : [{ address: own, ...options }]),
    sign: () => Promise.reject(new AgentError("wallet", "a session key signs by itself")),
    secret() {
      const taken = bytes;
      bytes = new Uint8Array();
      if (taken.length === 0) throw new AgentError("wallet", "this session key was given to an agent before");
      return taken;
    },
  };
}

/** A contract wallet (ERC-1271): its owner signs for it. */
export interface ContractWalletOptions extends WalletOptions {
  /** The contract's address. */
  address: string;
  /** Whoever signs for it. */
  owner: Wallet;
  /** Which of the owner's accounts signs; the first if absent. */
  ownerAccount?: string;
  /** What the owner signs instead of the payment itself, where the contract wants it wrapped. */
  wrap?: (typedData: TypedData, digest: Hex) => TypedData;
  /** The contract's signature, made of its owner's; the same if absent. */
  encode?: (signature: Hex) => Hex | Promise<Hex>;
}

/** A contract wallet (ERC-1271), through the wallet of its owner. */
export function contractWallet(options: ContractWalletOptions): Wallet {
  const { address, owner, ownerAccount, wrap, encode, ...rest } = options;
  if (owner.secret !== undefined) throw new AgentError("wallet", "a session key signs for its own account alone");
  const account: WalletAccount = { address, contract: true, ...rest };
  return {
    accounts: () => [account],
    async sign(_account, typedData, digest) {
      const signer = ownerAccount ?? (await owner.accounts())[0]?.address;
      if (signer === undefined) throw new AgentError("wallet", "the owner has no account");
      const signature = await owner.sign(signer, wrap?.(typedData, digest) ?? typedData, digest);
      return (await encode?.(signature as Hex)) ?? signature;
    },
  };
}

/** Typed data without the domain's type, which viem derives, and with integers as bigints. */
function counted({ types: { EIP712Domain: _, ...types }, message, ...rest }: TypedData): unknown {
  const value = (type: string, said: unknown): unknown => {
    const members = types[type];
    if (members === undefined) return /^u?int\d*$/.test(type) ? BigInt(said as string) : said;
    const object = said as Record<string, unknown>;
    return Object.fromEntries(members.map(({ name, type }) => [name, value(type, object[name])]));
  };
  return { types, message: value(rest.primaryType, message), ...rest };
}

function fromHex(text: string): Uint8Array {
  const digits = /^0x([0-9a-fA-F]{64})$/.exec(text)?.[1];
  if (digits === undefined) throw new AgentError("wallet", "a session key is 0x and 64 hexadecimal digits");
  return Uint8Array.from({ length: 32 }, (_, at) => Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}
