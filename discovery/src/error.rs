use std::error;

/// Why the members cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was configured cannot work: fix it. One line, which names what is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Nobody answered, or with a failure: the last answer stands, call again.
    #[error("{query} is not answered")]
    Unanswered {
        /// What was asked.
        query: String,
        /// What went wrong.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// The answer is that it shall not be told, most likely because a permission is missing:
    /// somebody has to act. The last answer stands; calling again resumes, slowly.
    #[error("{query} is refused")]
    Refused {
        /// What was asked.
        query: String,
        /// What is missing.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// The answer names more members than the configuration allows, so it was not taken: most
    /// likely it names something else. The last answer stands; calling again resumes.
    #[error("{query} names {found} members, more than {limit}")]
    TooMany {
        /// What was asked.
        query: String,
        /// How many members the answer named.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
}
