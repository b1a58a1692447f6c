//! The public test accounts that every development chain funds: never use them for anything of value.

/// Address and private key of a test account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// `0x` and 40 hex digits, with the EIP-55 checksum.
    pub address: &'static str,
    /// `0x` and 64 hex digits.
    pub key: &'static str,
}

/// Anvil's account 0: the buyer, unless a test says otherwise. The rig gives it tokens.
pub const BUYER: Account = Account {
    address: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    key: "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
};

/// Anvil's account 1: the seller, whom payments go to.
pub const PAYEE: Account = Account {
    address: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    key: "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
};

/// Anvil's account 2: the facilitator, which sends the transactions.
pub const FACILITATOR: Account = Account {
    address: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    key: "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
};

/// Anvil's account 3: a second buyer, without tokens until a test mints some.
pub const OTHER_BUYER: Account = Account {
    address: "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    key: "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
};
