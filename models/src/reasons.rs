//! Why a row has its score.
