// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

// Contract accounts that pay, besides OwnedWallet: FOR TESTS ONLY. What they say by ERC-1271 is what OwnedWallet says:
// the 65 bytes of the owner's signature count only with at least one byte after them.

import {OwnedWallet} from "OwnedWallet.sol";

function signedBy(bytes32 digest, bytes calldata signature) pure returns (address) {
    if (signature.length < 66) return address(0);
    return ecrecover(digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
}

/// @title What an account of a key delegates to by EIP-7702.
///
/// Its own key signs for it, but not as it would without the delegation: a bare 65-byte signature, which recovers to
/// the account's address, is refused.
contract DelegatedWallet {
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return signedBy(digest, signature) == address(this) ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }

    receive() external payable {}
}

/// @title Makes an OwnedWallet at an address that is known before (ERC-6492). A second call for the same wallet fails,
/// as it does with most factories.
contract WalletFactory {
    function create(address owner, uint256 salt) external returns (address wallet) {
        OwnedWallet made = new OwnedWallet{salt: keccak256(abi.encode(owner, salt))}();
        made.initialize(owner);
        return address(made);
    }

    function addressOf(address owner, uint256 salt) external view returns (address) {
        bytes32 code = keccak256(type(OwnedWallet).creationCode);
        bytes32 hash = keccak256(abi.encodePacked(hex"ff", address(this), keccak256(abi.encode(owner, salt)), code));
        return address(uint160(uint256(hash)));
    }
}

/// @title An NFT, as far as an account needs one. Anybody may mint.
contract Nft {
    mapping(uint256 => address) public ownerOf;

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    function mint(address to, uint256 id) external {
        require(ownerOf[id] == address(0), "exists");
        ownerOf[id] = to;
        emit Transfer(address(0), to, id);
    }

    function transferFrom(address from, address to, uint256 id) external {
        require(msg.sender == from && ownerOf[id] == from, "not the owner");
        ownerOf[id] = to;
        emit Transfer(from, to, id);
    }
}

/// @title ERC-6551's registry: accounts are ERC-1167 proxies with their token's name after the code.
contract TokenBoundRegistry {
    event ERC6551AccountCreated(
        address account,
        address indexed implementation,
        bytes32 salt,
        uint256 chainId,
        address indexed tokenContract,
        uint256 indexed tokenId
    );

    error AccountCreationFailed();

    function createAccount(
        address implementation,
        bytes32 salt,
        uint256 chainId,
        address tokenContract,
        uint256 tokenId
    ) external returns (address made) {
        bytes memory code = _code(implementation, salt, chainId, tokenContract, tokenId);
        made = account(implementation, salt, chainId, tokenContract, tokenId);
        if (made.code.length > 0) return made;
        assembly {
            made := create2(0, add(code, 0x20), mload(code), salt)
        }
        if (made == address(0)) revert AccountCreationFailed();
        emit ERC6551AccountCreated(made, implementation, salt, chainId, tokenContract, tokenId);
    }

    function account(
        address implementation,
        bytes32 salt,
        uint256 chainId,
        address tokenContract,
        uint256 tokenId
    ) public view returns (address) {
        bytes32 code = keccak256(_code(implementation, salt, chainId, tokenContract, tokenId));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), salt, code)))));
    }

    function _code(address implementation, bytes32 salt, uint256 chainId, address tokenContract, uint256 tokenId)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            hex"3d60ad80600a3d3981f3363d3d373d3d3d363d73",
            implementation,
            hex"5af43d82803e903d91602b57fd5bf3",
            abi.encode(salt, chainId, tokenContract, tokenId)
        );
    }
}

/// @title What an ERC-6551 account runs: whoever has the token signs for it.
contract TokenBoundAccount {
    function token() public view returns (uint256 chainId, address tokenContract, uint256 tokenId) {
        bytes memory footer = new bytes(0x60);
        assembly {
            extcodecopy(address(), add(footer, 0x20), 0x4d, 0x60)
        }
        return abi.decode(footer, (uint256, address, uint256));
    }

    function owner() public view returns (address) {
        (uint256 chainId, address tokenContract, uint256 tokenId) = token();
        return chainId == block.chainid ? Nft(tokenContract).ownerOf(tokenId) : address(0);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        address signer = signedBy(digest, signature);
        return signer != address(0) && signer == owner() ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }

    receive() external payable {}
}
