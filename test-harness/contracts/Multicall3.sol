// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title The part of Multicall3 that official x402 code uses to find out why a payment fails.
///
/// Written for the farebox rig by the documented interface of the contract that real chains have at
/// 0xcA11bde05977b3631167028862bE2a173976CA11; Anvil has none.
contract Multicall3 {
    struct Call {
        address target;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    /// Makes the calls in order. With `requireSuccess`, the first that fails fails all.
    function tryAggregate(bool requireSuccess, Call[] calldata calls)
        external
        payable
        returns (Result[] memory results)
    {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool success, bytes memory returnData) = calls[i].target.call(calls[i].callData);
            require(success || !requireSuccess, "Multicall3: call failed");
            results[i] = Result(success, returnData);
        }
    }
}
