//! pgrls itself, where it is installed, on the same schemas.
