// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title A contract account with one owner key, which signs for it by ERC-1271. FOR TESTS ONLY.
///
/// A signature is the owner's 65-byte ECDSA signature of the digest itself, followed by at least one byte that is
/// ignored: official x402 code sends a signature of exactly 65 bytes to the `v, r, s` overload of the token, any
/// other length to the `bytes` overload, and both have to be tried.
contract OwnedWallet {
    bytes4 private constant MAGIC = 0x1626ba7e;

    /// Storage slot 0, so that a rig can place this code and set the owner without a constructor.
    address public owner;

    /// For a factory, in the transaction that makes the wallet.
    function initialize(address to) external {
        require(owner == address(0), "has an owner");
        owner = to;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length < 65) return 0xffffffff;
        address signer = ecrecover(
            digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64])
        );
        return signer != address(0) && signer == owner ? MAGIC : bytes4(0xffffffff);
    }
}
