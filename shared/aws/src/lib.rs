//! hotline-aws.
