//! Places around a hub, each on a link of its own that can be cut and mended.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::place::{Place, ip};

/// A hub that passes packets between its rays.
pub struct Star {
    /// Where callers, agents and the cloud's door are.
    pub hub: Place,
    /// Where nodes are.
    pub rays: Vec<Place>,
}

impl Star {
    /// The hub's address, which no cut takes away.
    pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

    /// The address of the `nth` ray, from 0.
    pub const fn ray(nth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, nth + 1, 2)
    }

    /// Makes the hub and so many rays.
    ///
    /// # Errors
    /// What is missing, with the remedy.
    pub fn new(rays: u8) -> Result<Star> {
        let hub = Place::new("hub")?;
        hub.run(|| {
            ip(&["link", "set", "lo", "up"])?;
            ip(&["address", "add", &format!("{}/32", Star::HUB), "dev", "lo"])?;
            // The calling thread's namespace has a setting of its own.
            anyhow::Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
        })?;
        let mut star = Star { hub, rays: Vec::new() };
        for nth in 0..rays {
            star.add(nth)?;
        }
        Ok(star)
    }

    fn add(&mut self, nth: u8) -> Result<()> {
        let ray = Place::new(&format!("ray{nth}"))?;
        let handle = ray.handle();
        let gateway = Ipv4Addr::new(10, 78, nth + 1, 1);
        self.hub.run(move || {
            let (near, far) = (format!("near{nth}"), format!("far{nth}"));
            ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
            ip(&["link", "set", &far, "netns", &handle])?;
            ip(&["address", "add", &format!("{gateway}/24"), "dev", &near])?;
            ip(&["link", "set", &near, "up"])
        })?;
        ray.run(move || {
            let far = format!("far{nth}");
            ip(&["link", "set", "lo", "up"])?;
            ip(&["address", "add", &format!("{}/24", Star::ray(nth)), "dev", &far])?;
            ip(&["link", "set", &far, "up"])?;
            ip(&["route", "add", "default", "via", &gateway.to_string()])
        })?;
        self.rays.push(ray);
        Ok(())
    }

    /// Cuts a ray off; whoever is there goes on, alone.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self, nth: u8) -> Result<()> {
        self.hub.run(move || ip(&["link", "set", &format!("near{nth}"), "down"]))
    }

    /// Joins it again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn mend(&self, nth: u8) -> Result<()> {
        self.hub.run(move || ip(&["link", "set", &format!("near{nth}"), "up"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn rays_reach_each_other_and_the_hub_until_one_is_cut_off() {
        let star = Star::new(2).unwrap();
        let sockets: Vec<UdpSocket> = [Star::ray(0), Star::ray(1)]
            .into_iter()
            .zip(&star.rays)
            .map(|(address, ray)| ray.run(move || UdpSocket::bind((address, 5_060)).unwrap()))
            .collect();
        let hub = star.hub.run(|| UdpSocket::bind((Star::HUB, 5_060)).unwrap());
        for socket in sockets.iter().chain([&hub]) {
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        }
        let passes = |from: &UdpSocket, to: &UdpSocket| {
            // The first packets may go before the link is ready.
            (0..50).any(|_| {
                let _ = from.send_to(b"x", to.local_addr().unwrap());
                to.recv_from(&mut [0; 8]).is_ok()
            })
        };
        let once = |from: &UdpSocket, to: &UdpSocket| {
            while to.recv_from(&mut [0; 8]).is_ok() {}
            let _ = from.send_to(b"x", to.local_addr().unwrap());
            to.recv_from(&mut [0; 8]).is_ok()
        };
        assert!(passes(&sockets[0], &sockets[1]) && passes(&sockets[1], &hub) && passes(&hub, &sockets[0]));
        star.cut(0).unwrap();
        assert!(!once(&sockets[0], &sockets[1]) && !once(&hub, &sockets[0]) && !once(&sockets[0], &hub));
        assert!(passes(&sockets[1], &hub) && passes(&hub, &sockets[1]), "the others are not touched");
        star.mend(0).unwrap();
        assert!(passes(&sockets[0], &sockets[1]) && passes(&hub, &sockets[0]));
    }
}
