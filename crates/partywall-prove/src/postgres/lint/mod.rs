//! What no attack shows: the lint of a schema.
