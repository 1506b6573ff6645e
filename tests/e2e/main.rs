//! End-to-end tests over real parts, and the rules every crate of the house keeps.

#[cfg(test)]
mod house;
#[cfg(test)]
mod judges;
#[cfg(test)]
mod prove_config;
#[cfg(test)]
mod prove_system;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod system;
#[cfg(test)]
mod up;
