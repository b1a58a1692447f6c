// The public types of `farebox/agent`, and its errors.

/** Bytes as `0x` and hexadecimal digits. */
export type Hex = `0x${string}`;

// ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────────

/** How an agent is set up. */
export interface AgentOptions {
  /**
   * What the agent may pay, to whom, and how much: the JSON of `docs/agent.md`, as an object or as text. Nothing that it
   * does not allow is paid.
   */
  policy: object | string;
  /** Who signs. Without one, nothing is paid. */
  wallet?: Wallet;
  /**
   * Where what was spent is kept: `memoryStore()`, `indexedDbStore()`, `fileStore()` of `farebox/agent/file`, or
   * `durableObjectStore()` of `farebox/agent/durable-object`. Agents that share one never spend more than one would.
   */
  store: Store;
  /** The key that tokens are bound to: whoever has it may use them. Without one, no tokens are bought. */
  holder?: HolderKey;
  /** The task that payments count for, unless a request names another; for budgets `per: ["task"]`. */
  task?: string;
  /** The agent that payments count for, likewise. */
  agent?: string;
  /**
   * Is asked when somebody must approve a payment, and its answer is used at once: `true` (the person said yes), `false`
   * (no), or approvals that the policy's approvers signed. Without it, or while it gives `undefined`, the call fails with
   * an {@link ApprovalNeeded}. It must ask a person, and never a model. What it answers once the call's signal has aborted
   * counts for nothing.
   */
  ask?: (question: Question) => Promise<boolean | string | string[] | undefined>;
  /** Hears of everything as it happens. Must not throw. */
  onEvent?: (event: AgentEvent) => void;
  /**
   * What happens if a seller refuses a payment: the caller gets the seller's response (`"return"`, the default), or the
   * call fails with a {@link PaymentRefused}.
   */
  onRefusal?: "return" | "throw";
  /** Sends requests; the runtime's own `fetch` if absent. It must not send anything twice by itself. */
  fetch?: (request: Request) => Promise<Response>;
  /** The time in milliseconds since 1970; `Date.now` if absent. For tests. */
  clock?: () => number;
}

/** What `agent.fetch` takes beside what `fetch` takes. */
export interface AgentRequestInit extends RequestInit {
  /** What the program, and never a model, says of the request. */
  farebox?: {
    /** The task that the payment counts for: letters, digits, `.`, `_`, `-`, `:`. */
    task?: string;
    /** The agent that the payment counts for, likewise. */
    agent?: string;
    /** What the caller was told that it costs: {@link Quote.price}, or from elsewhere. It is not paid if it costs more. */
    quote?: Price;
  };
}

/** A price as a caller was told it. */
export interface Price {
  /** CAIP-19 asset: `eip155:8453/erc20:0x…`. */
  asset: string;
  /** Atomic units of it, in decimal digits. */
  amount: string;
  /** CAIP-10 account that is paid, if that was told. */
  payee?: string;
}

// ── The agent ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A buyer: pays for requests within its policy. Made by `createAgent`. */
export interface Agent {
  /** The policy that this agent was made with. */
  readonly policy: PolicyInfo;

  /** Addresses of the accounts that pay, preferred one first. */
  accounts(): Promise<string[]>;

  /**
   * As the runtime's `fetch`, but for requests that cost something: those are paid for if the policy allows it. What it
   * does not allow fails with a {@link PaymentDenied}, and nothing is signed. `paymentOf(response)` tells what a response
   * has cost, `detailsOf(response)` what else came with it. It is bound, and may be handed on alone: `new Client({ fetch: agent.fetch })`.
   *
   * A request that carries a payment or a token is never redirected: the caller gets the redirect. Its body is read into
   * memory before it is sent.
   *
   * @throws {AgentError} one of the classes of this module; and whatever `fetch` throws where nothing had been paid.
   */
  readonly fetch: (input: string | URL | Request, init?: AgentRequestInit) => Promise<Response>;

  /**
   * Fills the budgets: writes the first counters. A person, or the program that sets the agent up, says so; the agent
   * never does by itself, since otherwise whoever removes the store would fill them again. `false` if there are counters
   * already, which stay as they are. A `memoryStore()` needs none.
   */
  begin(): Promise<boolean>;

  /** What a request costs, and what would be decided about it. Nothing is reserved, signed or paid. */
  quote(input: string | URL | Request, init?: AgentRequestInit): Promise<Quote>;

  /** The same for people: every rule that was looked at, one on each line. */
  explain(input: string | URL | Request, init?: AgentRequestInit): Promise<string>;

  /** What is left of every budget and number of calls. */
  left(): Promise<Left[]>;

  /** Payments that are reserved, or made with an outcome that is not known. */
  open(): Promise<Reservation[]>;

  /** What somebody is asked to approve. */
  questions(): Promise<Question[]>;

  /**
   * Approves: with the digest of a question, the yes of whoever the program has asked, which counts only where the
   * policy does not name approvers; else an approval that one of them signed (`farebox-approval+jwt`). Then the same
   * request is fetched again.
   *
   * @throws {AgentError} `bad_approval` if it answers no question that stands, or others must answer it.
   */
  approve(answer: string): Promise<"counted" | "enough" | "again">;

  /** The no of whoever was asked, which also stops a payment that waits. */
  reject(digest: string): Promise<void>;

  /**
   * Puts another policy in force for all who share the store. One that allows more needs its approvers, or if there are
   * none, `loosen: true`: somebody outside of the model has said so.
   *
   * @throws {PolicyError} if it has mistakes.
   * @throws {AgentError} `rollback` if a later one was in force before.
   * @throws {ApprovalNeeded} if somebody must approve it; then call again.
   */
  adopt(policy: object | string, options?: { loosen?: boolean }): Promise<void>;

  /** Closes the circuit breaker of a host, or of everything, once somebody has looked. @throws {ApprovalNeeded} */
  unfreeze(host?: string): Promise<void>;

  /** What the chain says of a payment whose outcome is open: atomic units taken, or `null` if it never can be. */
  evidence(id: string, amount: string | null): Promise<void>;

  /** Tokens that the agent keeps. */
  tokens(): Promise<TokenInfo[]>;

  /**
   * Makes a narrower token of one that the agent keeps, offline, within what the policy lets be handed on.
   *
   * @throws {AgentError} `policy`, `url`, `no_token`, `too_much`, `token`, `not_signed`.
   */
  delegate(options: DelegateOptions): Promise<Delegated>;

  /** Keeps a token that was given to this agent: by a seller, or by an agent that delegates to it. */
  keep(token: string): Promise<TokenInfo>;

  /** Drops a token; whether there was one. */
  drop(id: string): Promise<boolean>;

  /** The public key that tokens are bound to, as JWK: what an agent that delegates to this one wants to know. */
  holder(): Promise<JsonWebKey | undefined>;

  /** Wipes the keys that the agent holds. Calls that are under way sign no payment with them any more. */
  close(): void;
}

/** A policy, read. */
export interface PolicyInfo {
  /** Its hash: base64url of the SHA-256 of its canonical JSON. */
  hash: string;
  /** Number of its edition. */
  serial: number;
  /** Its name. */
  name: string;
  /** What its author should know. */
  warnings: string[];
  /** Its document. */
  document: unknown;
}

/** What a grant does not say, and a person adds. */
export interface ImportFrame {
  /** Hosts that may be paid; any that the grant does not exclude if absent. */
  hosts?: string[];
  /** What the grant's asset counts as: `usd`. */
  unit?: string;
  /** Assets, as a policy writes them. */
  assets?: object[];
  /** Number of the edition that the policy becomes. */
  serial?: number;
}

/** A grant as a policy. */
export interface Imported {
  policy: object;
  /** The account that the grant spends from (CAIP-10), if it names one. */
  account?: string;
  /** What the grant says and needs no rule here. */
  notes: string[];
}

/** What is left of a budget or a number of calls. Amounts are decimal numbers of the unit. */
export interface Left {
  /** The rule: `budgets day`. */
  rule: string;
  /** What it is counted for, if the rule counts several things: `api.example.com`. */
  key: string;
  /** The unit; `calls` for numbers of calls. */
  unit: string;
  /** The most there can be. */
  max: string;
  /** What is spent or reserved. */
  used: string;
  /** What is left. */
  left: string;
}

// ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One way to pay, as a seller offers it. */
export interface Offer {
  /** Where it stands in the challenge. */
  index: number;
  scheme: "exact" | "upto";
  transfer: "eip3009" | "permit2";
  /** CAIP-2 network. */
  network: string;
  /** CAIP-19 asset. */
  asset: string;
  /** Atomic units; for `upto` the ceiling. */
  amount: string;
  /** The amount as the policy counts it, like `0.01 usd`; absent if it does not list the asset. */
  text?: string;
  /** CAIP-10 account that is paid. */
  payee: string;
  /** Seconds that a payment may stay good for. */
  maxTimeoutSeconds: number;
  /** Whether the money moves before the service does anything. */
  upfront: boolean;
  /** What it buys, if that is more than this one call. */
  pass?: {
    calls?: number;
    /** Atomic units. */
    budget?: string;
    bytes?: number;
    /** Seconds. */
    expiresIn?: number;
    /** Levels of delegations. */
    delegations?: number;
    /** Whether only those can buy it who introduce a holder's key. */
    needsHolder?: boolean;
  };
}

/** What one rule says. */
export interface Verdict {
  /** The rule: its list and name or number, like `budgets day`. */
  rule: string;
  effect: "pass" | "ask" | "wait" | "deny";
  /** Why, if it does not pass. */
  reason?: ReasonCode;
  /** What it was judged by; amounts carry their unit. */
  numbers: Record<string, string>;
}

/** How a decision came about. */
export interface Explanation {
  /** What is said of the request, whatever the offer. */
  request: Verdict[];
  /** What is said of each offer, in the challenge's order. */
  offers: {
    /** Where the offer stands in the challenge. */
    offer: number;
    effect: Verdict["effect"];
    verdicts: Verdict[];
    /** Why it stands where it stands among those that can be paid. */
    rank: Record<string, string>;
  }[];
}

/** What was decided about a request that costs something. */
export interface Decision {
  /** `choose`: it is paid; `ask`: somebody must approve it first; `deny`: it is not paid. */
  outcome: "choose" | "ask" | "deny";
  /** The offer that is paid, or asked about. */
  offer?: Offer;
  /** CAIP-10 account that pays. */
  payer?: string;
  /** Seconds that the payment is good for. */
  validSeconds?: number;
  /** What somebody is asked, once it was asked. */
  question?: Question;
  /** Why nothing is paid, worst reason first. */
  reasons: ReasonCode[];
  /** Unix seconds from which on it may be otherwise, if it is only too early. */
  retryAt?: number;
  explanation: Explanation;
}

/** What a request costs, and what would be decided about it. */
export interface Quote {
  /** `free`: it costs nothing; `token`: a token that the agent keeps is good for it; others as for {@link Decision}. */
  outcome: "free" | "token" | Decision["outcome"];
  /** Status of the answer without payment: 402 if it costs something; absent if nothing was sent. */
  status?: number;
  /** The price of what would be paid; hand it to `agent.fetch` as `farebox: { quote }`. */
  price?: Price;
  /** The token that it would be made with. */
  token?: TokenInfo;
  /** Why nothing would be paid. */
  reasons: ReasonCode[];
  /** The whole decision, if there was one. */
  decision?: Decision;
}

/** A stable reason for which nothing is paid (`docs/agent.md`). */
export type ReasonCode =
  | "challenge_unreadable"
  | "challenge_too_large"
  | "too_many_offers"
  | "no_offers"
  | "offer_unreadable"
  | "offer_unsupported"
  | "wallet_cannot_pay"
  | "request_unreadable"
  | "redirected"
  | "policy_not_adopted"
  | "policy_not_in_force"
  | "counters_lost"
  | "counters_full"
  | "clock_went_back"
  | "frozen"
  | "denied"
  | "not_allowed"
  | "asset_not_listed"
  | "asset_disagrees"
  | "validity_too_long"
  | "over_cap"
  | "over_budget"
  | "no_budget"
  | "too_many_calls"
  | "cooling_down"
  | "outside_hours"
  | "time_locked"
  | "price_above_quote"
  | "quote_changed"
  | "price_above_last"
  | "payee_changed"
  | "duplicate"
  | "offer_unsigned"
  | "approval_needed";

/** What somebody is asked. */
export interface Question {
  /** Its name: base64url of the SHA-256 of the document's canonical JSON. */
  digest: string;
  /** What is asked about, in full. Show it to whoever is asked; approvers sign exactly this. */
  document: Record<string, unknown>;
  /** Unix seconds until which it can be answered, and until which the answer is good. */
  expires: number;
  /** Who must answer, for each rule that asks. */
  needs: {
    rule: string;
    /** Thumbprints (RFC 7638) of the keys that may answer; empty: whoever the program asks. */
    by: string[];
    threshold: number;
    given: number;
  }[];
  /** Whether enough of them have said yes. */
  answered: boolean;
  /** Whether one has said no. */
  rejected: boolean;
}

// ── Payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Money that is reserved, or paid. */
export interface Reservation {
  /** Its name, for {@link Agent.evidence}. */
  id: string;
  /** `held`: nothing has left; `sent`; `doubtful`: it has left, and what became of it is not known; `refused`. */
  stage: "held" | "sent" | "doubtful" | "refused";
  /** Unix seconds at which it was decided. */
  at: number;
  /** Unix seconds at which it counts as spent if nothing else is known. */
  until: number;
  method: string;
  url: string;
  /** Host that it counts for, with the port. */
  host: string;
  /** CAIP-19 asset. */
  asset: string;
  /** Atomic units of it; a ceiling for `upto`. */
  amount: string;
  /** The amount as the policy counts it. */
  text?: string;
  /** CAIP-10 account that is paid. */
  payee: string;
  /** CAIP-10 account that pays. */
  payer: string;
  /** What the chain burns, once it is signed: the EIP-3009 or Permit2 nonce. */
  nonce?: string;
  /** Unix seconds until which it can be carried out. */
  validBefore?: number;
}

/** A payment that was sent, and what its seller said. */
export interface Payment {
  id: string;
  /** What was reserved. */
  reservation: Reservation;
  /** `charged`, as the seller says; `refused`: it says that it did not take it; `unknown`. */
  outcome: "charged" | "refused" | "unknown";
  /** Atomic units that were charged. */
  charged?: string;
  /** The same as the policy counts it, like `0.01 usd`. */
  chargedText?: string;
  /** What is wrong with how the seller dealt with it. */
  faults: Fault[];
  /** The code of a refusal: of our gate's problem, or the settlement's reason. */
  code?: string;
  /** The transaction that the seller names. */
  transaction?: string;
  /** Receipts that came with the answer, each with whether it is good. */
  receipts: Receipt[];
  /** Whether it is a payment of an earlier call that was never answered, sent again in place of a new one. */
  resumed: boolean;
  /** How the decision to pay came about. */
  explanation?: Explanation;
}

/** Something that is wrong with how a seller dealt with a payment. */
export type Fault = "amount" | "network" | "payer" | "unreadable" | "no_receipt" | "bad_receipt" | "token" | "refused";

/** A receipt that came with a response. */
export interface Receipt {
  /** `call`: a `Call-Receipt` of our gate; `payment`: x402's `offer-receipt`. */
  kind: "call" | "payment";
  /** As it came. The seller's words: show them as text, and never as anything else. */
  text: string;
  /** What it says, if it can be read. The seller's words. */
  claims?: Record<string, unknown>;
  /** Who signed it, if that is known. */
  signer?: string;
  /** Whether it is signed by whom it should be, and says what was paid. */
  good: boolean;
  /** What is wrong with it, if it is not good. */
  wrong?: string;
}

/** What came with a response of `agent.fetch`. */
export interface Details {
  /** What was paid for it. */
  payment?: Payment;
  /** The token that it was called with in place of a payment. */
  token?: TokenUse;
  /** The token that came with it, and is kept. */
  kept?: TokenInfo;
  /** Receipts that came with it. */
  receipts: Receipt[];
}

/**
 * What happens, as it happens: `at` in milliseconds since 1970, and the request that it happens for. All events of one
 * payment have the same `id`.
 */
export type AgentEvent = { at: number; method: string; url: string } & (
  /** The offers of a challenge were judged. What is chosen is reserved by now. */
  | { type: "decision"; id?: string; decision: Decision }
  /** Somebody must approve it. */
  | { type: "question"; question: Question }
  /** Money was reserved. */
  | { type: "reserved"; id: string; reservation: Reservation }
  /** A wallet is about to be asked for a signature. */
  | { type: "signing"; payer: string; typedData: TypedData; digest: Hex }
  /** The payment was signed and written down. */
  | { type: "signed"; id: string; reservation: Reservation }
  /** A reservation was given back: nothing was paid. */
  | { type: "givenUp"; id: string; why: string }
  /** The payment of an earlier call that was never answered is sent again, in place of a new one. */
  | { type: "resumed"; id: string; reservation: Reservation }
  /** A payment leaves, for the `attempt`th time. */
  | { type: "sending"; id: string; attempt: number }
  /** What became of a payment. */
  | { type: "payment"; id: string; payment: Payment }
  /** A receipt was checked. */
  | { type: "receipt"; id?: string; receipt: Receipt }
  /** The request was made with a token. */
  | { type: "token"; token: TokenUse }
  /** A token came, and is kept. */
  | { type: "tokenKept"; token: TokenInfo }
  /** A token is shown no more: used up, expired, revoked, or dropped by the program. */
  | { type: "tokenDropped"; token: { id: string }; why: string }
  /** The call failed. */
  | { type: "failed"; error: Error }
);

// ── Tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is left of a token's budgets: calls, bytes, or atomic units of an asset. */
export interface TokenLeft {
  unit: string;
  amount: string | number;
}

/** A capability token that the agent keeps. */
export interface TokenInfo {
  /** Its name: the ids of its links, joined by `~`. */
  id: string;
  /** Origins that it is for. */
  origins: string[];
  /** Methods that it is for. */
  methods: string[];
  /** Unix seconds from which on it is no longer good. */
  expires: number;
  /** Thumbprint of the key that it is bound to; absent: whoever has it can use it. */
  holder?: string;
  /** What is left, as far as is known. */
  left: TokenLeft[];
  /** How many levels of delegations can still be made from it. */
  delegations: number;
}

/** A call with a token, and what the gate says is left of it. */
export interface TokenUse {
  id: string;
  left: TokenLeft[];
}

/** What a sub-agent is to be allowed. What is absent is as much as policy and token allow. */
export interface DelegateOptions {
  /** The sub-agent's public key, as JWK. It proves to hold it with every call. */
  holder: JsonWebKey;
  /** An absolute URL of the seller: the token is chosen by it, and is good for its origin alone. */
  url: string;
  /** Methods that it is good for. */
  methods?: string[];
  /** Paths that it is good for; those that end in `/` stand for everything below. */
  paths?: string[];
  /** Calls in all. */
  calls?: number;
  /** Money in all, in atomic units of the asset that the token's budget is in. */
  budget?: string;
  /** Seconds that it is good for. */
  seconds?: number;
  /** How many levels of sub-agents it may have itself; 0 if absent. */
  levels?: number;
}

/** A token for a sub-agent. */
export interface Delegated {
  /** The token: give it to the sub-agent, which keeps it with `agent.keep`. */
  text: string;
  token: TokenInfo;
}

/**
 * The key that an agent's tokens are bound to: Ed25519, or secp256k1. It signs requests (RFC 9421) and delegations, and
 * nothing else. `webCryptoHolder` and `holderKey` make one.
 */
export interface HolderKey {
  /** The public key. Asked for once, when the agent first needs it. */
  jwk(): Promise<JsonWebKey>;
  /** The signature: EdDSA, or ES256K with `s` in the lower half; 64 bytes. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
  /** The 32 bytes of an Ed25519 key that is to live inside the WebAssembly instance, as {@link Wallet.secret}. */
  readonly secret?: () => Uint8Array;
}

// ── Wallets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** EIP-712 typed data, as `eth_signTypedData_v4` takes it. Integers are decimal strings; `chainId` is a number. */
export interface TypedData {
  types: Record<string, { name: string; type: string }[]>;
  primaryType: string;
  domain: Record<string, unknown>;
  message: Record<string, unknown>;
}

/** An account that can sign payments. */
export interface WalletAccount {
  /** Its address. */
  address: string;
  /** CAIP-2 networks that it is used on; all if absent. */
  networks?: string[];
  /** How it can pay; by EIP-3009 alone if absent. `permit2` only where it has approved Permit2 for the token on chain. */
  transfers?: ("eip3009" | "permit2")[];
  /** Whether it is a contract, whose signatures only the chain can check (ERC-1271). */
  contract?: boolean;
}

/**
 * Whoever holds the keys. `viemWallet`, `ethersWallet`, `providerWallet`, `sessionKey` and `contractWallet` make one.
 *
 * It is asked to sign payments that were decided on, and nothing else. It may take as long as a person takes.
 */
export interface Wallet {
  /**
   * Its accounts, preferred one first. Asked for once, when the agent first needs them. `own` is the address of the
   * account of {@link secret}, if there is one.
   */
  accounts(own?: string): Promise<WalletAccount[]> | WalletAccount[];
  /**
   * The signature of `typedData` (whose digest is `digest`) by `account`. Throw if it was declined or failed; an error
   * with `code` 4001 or `ACTION_REJECTED` counts as declined. Nothing is paid then.
   */
  sign(account: string, typedData: TypedData, digest: Hex): Promise<string>;
  /**
   * The 32 bytes of a secp256k1 key that is to live inside the WebAssembly instance and sign there. They are wiped once
   * they are there, so this is asked once.
   */
  readonly secret?: () => Uint8Array;
}

// ── Stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A place for one blob that several agents may share. Keep it where the model that drives the agent cannot write. */
export interface Store {
  /** The blob, and the name of this state of it; `undefined` if there is none. Throws if that cannot be told. */
  load(): Promise<{ bytes: Uint8Array; version: string } | undefined>;
  /**
   * Writes the blob if its version is still `expected` (`undefined`: if there is still none); whether it did. Of two that
   * expect the same version, one writes.
   */
  swap(expected: string | undefined, bytes: Uint8Array): Promise<boolean>;
  /** Whether an empty store is a new one and cannot be one that was lost, so that nobody must call `begin()`. */
  readonly beginsAnew?: boolean;
  /**
   * Whether nobody else has the store open now. Then what an earlier process has sent without learning what became of it
   * is known to be nobody's, and is sent again instead of paid anew. Absent: others wait until its lease ends.
   */
  alone?(): Promise<boolean>;
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Why there is no response. `code` is stable. */
export class AgentError extends Error {
  override readonly name: string = "AgentError";
  /** A {@link ReasonCode}, a code of our gate, or one of the codes of `docs/agent.md`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A policy that is refused: every mistake in it, with the field and the remedy. */
export class PolicyError extends AgentError {
  override readonly name = "PolicyError";
  /** All mistakes, in the order of their fields. */
  readonly mistakes: readonly { path: string; found: string; hint: string }[];

  constructor(mistakes: { path: string; found: string; hint: string }[]) {
    super("policy", mistakes.map(({ path, found, hint }) => `${path || "policy"}: ${found}; ${hint}`).join("\n"));
    this.mistakes = mistakes;
  }
}

/** The policy denies the payment. Nothing was signed. */
export class PaymentDenied extends AgentError {
  override readonly name = "PaymentDenied";
  /** Worst reason first; `code` is the first. */
  readonly reasons: readonly ReasonCode[];
  /** Unix seconds from which on it may be otherwise, if it is only too early. */
  readonly retryAt: number | undefined;
  readonly explanation: Explanation;

  constructor(reasons: ReasonCode[], explanation: Explanation, retryAt?: number) {
    super(reasons[0] ?? "not_allowed", `the policy denies the payment: ${reasons.join(", ")}`);
    this.reasons = reasons;
    this.retryAt = retryAt;
    this.explanation = explanation;
  }
}

/** Somebody must approve it first; then the same call is made again. Nothing was signed. */
export class ApprovalNeeded extends AgentError {
  override readonly name = "ApprovalNeeded";
  readonly question: Question;
  readonly explanation: Explanation | undefined;

  constructor(question: Question, explanation?: Explanation) {
    super("approval_needed", `somebody must approve this first: ${question.digest}`);
    this.question = question;
    this.explanation = explanation;
  }
}

/** The 402 has no challenge that can be read, or one that no honest seller writes. Nothing was signed. */
export class ChallengeRefused extends AgentError {
  override readonly name = "ChallengeRefused";
  /** The response, for a caller who knows another way to pay. */
  readonly response: Response | undefined;

  constructor(code: ReasonCode, detail: string, response?: Response) {
    super(code, `the 402 cannot be paid: ${detail}`);
    this.response = response;
  }
}

/** The wallet declined to sign (`signature_declined`), failed (`signer_failed`), or signed otherwise (`bad_signature`). */
export class NotSigned extends AgentError {
  override readonly name = "NotSigned";
}

/**
 * A payment was sent, and there was no usable answer. It stays reserved. The same call later sends the same payment
 * again, and never another.
 */
export class PaymentDoubtful extends AgentError {
  override readonly name = "PaymentDoubtful";
  readonly payment: Payment;

  constructor(payment: Payment, options?: ErrorOptions) {
    super("doubtful", "a payment was sent and not answered; the same request sends it again", options);
    this.payment = payment;
  }
}

/** The seller refuses the payment, and {@link AgentOptions.onRefusal} is `"throw"`. `code` is the seller's. */
export class PaymentRefused extends AgentError {
  override readonly name = "PaymentRefused";
  readonly payment: Payment;
  /** What the seller answered. */
  readonly response: Response;

  constructor(payment: Payment, response: Response) {
    super(payment.code ?? "refused", `the seller refuses the payment: ${payment.code ?? response.status}`);
    this.payment = payment;
    this.response = response;
  }
}
