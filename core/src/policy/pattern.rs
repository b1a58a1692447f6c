//! How a path of the policy is written.
