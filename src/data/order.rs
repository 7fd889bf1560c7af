//! The order of a training run: which image stands where, whether it is mirrored, and where it is cut.
//!
//! Nothing is carried along: every choice is a Philox number at (seed, what it is for, place in the run).

use crate::device::philox;
use crate::random;

/// A run's order over `images` images.
#[derive(Debug)]
pub(super) struct Order {
    seed: u64,
    images: u64,
    /// The last permutation asked for: places come one after another, so it nearly always serves again.
    epoch: Option<(u64, Vec<u32>)>,
}

/// Whether and where an image is cut and mirrored.
pub(super) struct Placement {
    pub mirrored: bool,
    x: u64,
    y: u64,
}

impl Placement {
    /// Where a square begins that leaves `slack` columns and rows.
    pub fn corner(&self, (columns, rows): (usize, usize)) -> (usize, usize) {
        (below(self.x, columns as u64 + 1) as usize, below(self.y, rows as u64 + 1) as usize)
    }
}

impl Order {
    pub fn new(seed: u64, images: usize) -> Order {
        Order { seed, images: images as u64, epoch: None }
    }

    /// The images to try at `place` of the run: the one that stands there in its epoch's permutation, then those that
    /// follow it, for when it cannot be read.
    pub fn images(&mut self, place: u64) -> impl Iterator<Item = usize> {
        let (epoch, at) = (place / self.images, (place % self.images) as usize);
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.epoch = Some((epoch, self.permutation(epoch)));
        }
        let permutation = self.epoch.as_ref().map_or(&[][..], |(_, permutation)| permutation);
        permutation[at..].iter().chain(&permutation[..at]).map(|&image| image as usize)
    }

    /// How the image at `place` is cut and mirrored.
    pub fn placement(&self, place: u64) -> Placement {
        let [x, y] = self.draw("data.crop", place);
        let [mirror, _] = self.draw("data.flip", place);
        Placement { mirrored: mirror >> 63 == 1, x, y }
    }

    /// Fisher and Yates's shuffle.
    fn permutation(&self, epoch: u64) -> Vec<u32> {
        let mut images: Vec<u32> = (0..self.images as u32).collect();
        for last in (1..images.len()).rev() {
            let [number, _] = self.draw("data.order", epoch * self.images + last as u64);
            images.swap(last, below(number, last as u64 + 1) as usize);
        }
        images
    }

    fn draw(&self, purpose: &str, place: u64) -> [u64; 2] {
        let [a, b, c, d] = philox::block(self.seed, random::stream(purpose), place).map(u64::from);
        [a << 32 | b, c << 32 | d]
    }
}

/// A number in 0..n out of 64 random bits; its bias, n/2⁶⁴, is far below what a run could show.
fn below(number: u64, n: u64) -> u64 {
    ((u128::from(number) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation() {
        let mut order = Order::new(7, 100);
        let mut epoch = |n: u64| (0..100).filter_map(|i| order.images(n * 100 + i).next()).collect::<Vec<_>>();
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        assert_eq!(epoch(0), first, "an order must not depend on what was asked before");
        for mut images in [first, second] {
            images.sort_unstable();
            assert_eq!(images, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_place_offers_every_image_once() {
        let mut order = Order::new(1, 5);
        let mut images: Vec<_> = order.images(3).collect();
        images.sort_unstable();
        assert_eq!(images, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn first_images_are_uniform() {
        // 4 images, 4000 epochs: each leads 1000 times on average, with a standard deviation of 27.
        let mut order = Order::new(3, 4);
        let mut counts = [0i32; 4];
        (0..4000).filter_map(|epoch| order.images(epoch * 4).next()).for_each(|image| counts[image] += 1);
        assert!(counts.iter().all(|count| (count - 1000).abs() < 5 * 27), "{counts:?}");
    }

    #[test]
    fn corners_reach_both_ends_and_mirrors_are_even() {
        let order = Order::new(3, 4);
        let placements: Vec<_> = (0..1000).map(|place| order.placement(place)).collect();
        let corners: Vec<_> = placements.iter().map(|placement| placement.corner((3, 0))).collect();
        assert!((0..4).all(|x| corners.contains(&(x, 0))), "columns 0 to 3 are all possible");
        assert!(corners.iter().all(|&(x, y)| x <= 3 && y == 0));
        let mirrored = placements.iter().filter(|placement| placement.mirrored).count() as i32;
        assert!((mirrored - 500).abs() < 5 * 16, "{mirrored} of 1000 are mirrored");
    }
}
