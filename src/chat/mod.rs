//! The domain: rooms, members and what each profile says to whom. Pure: no runtime, no socket, no clock.
