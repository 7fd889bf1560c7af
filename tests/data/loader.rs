//! The stream of batches: reproducible, resumable, and patient with broken images.

use std::collections::BTreeSet;
use std::fs;

use vf_engine::config::Crop;
use vf_engine::data::{Batch, ImageFolder, Loader, LoaderSettings, Rgb};

use crate::{folder_of, repository, truncate};

const SIZE: usize = 32;

fn settings() -> LoaderSettings {
    LoaderSettings {
        batch_size: 5,
        size: SIZE,
        crop: Crop::Center,
        flip: true,
        seed: 11,
        workers: 2,
        memory: 1 << 20,
        max_unreadable: 0.05,
    }
}

fn photographs() -> ImageFolder {
    ImageFolder::open(repository("assets/photos")).unwrap()
}

fn batches(folder: &ImageFolder, settings: LoaderSettings, position: u64, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(folder, settings, position).unwrap();
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn an_epoch_holds_every_image_once() {
    let batches = batches(&photographs(), LoaderSettings { batch_size: 23, ..settings() }, 0, 2);
    for batch in &batches {
        assert_eq!(batch.indices.iter().collect::<BTreeSet<_>>().len(), 23);
        assert_eq!(batch.labels, None);
    }
    assert_ne!(batches[0].indices, batches[1].indices, "another order in every epoch");
}

#[test]
fn a_batch_holds_the_centre_crops_it_names() {
    let folder = photographs();
    for batch in batches(&folder, settings(), 0, 2) {
        let images = batch.images.chunks_exact(SIZE * SIZE * 3);
        assert_eq!(images.len(), 5);
        for ((image, &index), &flipped) in images.zip(&batch.indices).zip(&batch.flipped) {
            let mut expected = vec![];
            Rgb::open(folder.path(index)).unwrap().center_crop(SIZE).unwrap().append_to(&mut expected, flipped);
            assert_eq!(image, expected, "{}", folder.names()[index]);
        }
    }
}

#[test]
fn workers_and_memory_change_nothing() {
    for crop in [Crop::Center, Crop::Random] {
        let folder = photographs();
        let one = batches(&folder, LoaderSettings { crop, workers: 1, memory: 0, ..settings() }, 0, 12);
        let three = batches(&folder, LoaderSettings { crop, workers: 3, ..settings() }, 0, 12);
        assert_eq!(one, three);
    }
}

#[test]
fn going_on_at_a_batch_equals_an_unbroken_run() {
    for crop in [Crop::Center, Crop::Random] {
        let settings = LoaderSettings { crop, ..settings() };
        let whole = batches(&photographs(), settings.clone(), 0, 14);
        for position in [1, 4, 9] {
            let rest = batches(&photographs(), settings.clone(), position as u64, 14 - position);
            assert_eq!(rest, whole[position..], "from batch {position}");
        }
    }
    let mut loader = Loader::new(&photographs(), settings(), 9).unwrap();
    loader.next_batch().unwrap();
    assert_eq!(loader.position(), 10);
}

#[test]
fn the_seed_decides() {
    let with = |seed| batches(&photographs(), LoaderSettings { seed, ..settings() }, 0, 4);
    assert_eq!(with(1), with(1));
    let (one, two) = (with(1), with(2));
    assert_ne!(one.iter().map(|b| &b.indices).collect::<Vec<_>>(), two.iter().map(|b| &b.indices).collect::<Vec<_>>());
    assert_ne!(one.iter().map(|b| &b.flipped).collect::<Vec<_>>(), two.iter().map(|b| &b.flipped).collect::<Vec<_>>());
}

#[test]
fn flips_can_be_off_and_random_crops_move() {
    let settings = LoaderSettings { flip: false, crop: Crop::Random, batch_size: 1, ..settings() };
    let folder = folder_of(&[("wide.jpg", "dandelion.jpg")]);
    let batches = batches(&ImageFolder::open(folder.path()).unwrap(), settings, 0, 12);
    assert!(batches.iter().all(|batch| !batch.flipped[0]));
    // 32 pixels high it is 57 wide: 26 places for a square, so 12 equal crops would be a chance of 26⁻¹¹.
    assert!(batches.iter().any(|batch| batch.images != batches[0].images));
}

#[test]
fn labels_are_those_of_the_images() {
    let folder = folder_of(&[("b/1.jpg", "dogs.jpg"), ("a/1.jpg", "coffee.jpg"), ("a/2.jpg", "rocket.jpg")]);
    let folder = ImageFolder::open(folder.path()).unwrap();
    let labels = folder.labels().unwrap();
    for batch in batches(&folder, settings(), 0, 2) {
        let expected: Vec<u32> = batch.indices.iter().map(|&index| labels[index]).collect();
        assert_eq!(batch.labels, Some(expected));
    }
}

#[test]
fn an_unreadable_image_is_replaced_and_moves_nothing_else() {
    let whole =
        folder_of(&[("a.jpg", "dogs.jpg"), ("b.jpg", "coffee.jpg"), ("c.jpg", "rocket.jpg"), ("d.jpg", "peaks.jpg")]);
    let images = ImageFolder::open(whole.path()).unwrap();
    let before = batches(&images, settings(), 0, 8);
    truncate(&images.path(2));
    let mut loader = Loader::new(&images, settings(), 0).unwrap();
    let mut replaced = 0;
    for before in &before {
        let after = loader.next_batch().unwrap();
        assert_eq!(after.flipped, before.flipped);
        for (&was, &is) in before.indices.iter().zip(&after.indices) {
            assert_ne!(is, 2);
            assert!(was == is || was == 2);
            replaced += u32::from(was == 2);
        }
    }
    assert_eq!(replaced, 10, "ten epochs of four images");
    assert_eq!(loader.unreadable(), [2]);
    let again = batches(&images, LoaderSettings { workers: 3, memory: 0, ..settings() }, 3, 5);
    let unbroken = batches(&images, settings(), 0, 8);
    assert_eq!(again, unbroken[3..], "replacements, too, depend on the batch's number alone");
}

#[test]
fn too_many_unreadable_images_are_an_error() {
    let folder = folder_of(&[("a.jpg", "dogs.jpg"), ("b.jpg", "coffee.jpg"), ("c.jpg", "rocket.jpg")]);
    let images = ImageFolder::open(folder.path()).unwrap();
    truncate(&images.path(0));
    fs::write(images.path(1), "").unwrap();
    let message = first_error(&images, settings());
    assert!(message.contains("2 of the 3 images") && message.contains("a.jpg"), "{message}");
    let patient = LoaderSettings { max_unreadable: 0.7, ..settings() };
    assert!(batches(&images, patient.clone(), 0, 2)[1].indices.iter().all(|&index| index == 2));
    truncate(&images.path(2));
    assert!(first_error(&images, LoaderSettings { max_unreadable: 1.0, ..patient }).contains("3 of the 3 images"));
}

#[test]
fn a_folder_whose_only_image_is_broken_is_an_error() {
    let folder = folder_of(&[("a.jpg", "dogs.jpg")]);
    let images = ImageFolder::open(folder.path()).unwrap();
    truncate(&images.path(0));
    assert!(first_error(&images, settings()).contains("1 of the 1 images"));
}

fn first_error(folder: &ImageFolder, settings: LoaderSettings) -> String {
    let mut loader = Loader::new(folder, settings, 0).unwrap();
    let error = (0..10).find_map(|_| loader.next_batch().err());
    error.expect("too many images are unreadable").to_string()
}

#[test]
fn impossible_settings_are_refused() {
    for settings in [
        LoaderSettings { batch_size: 0, ..settings() },
        LoaderSettings { size: 0, ..settings() },
        LoaderSettings { workers: 0, ..settings() },
    ] {
        let error = Loader::new(&photographs(), settings, 0).err().unwrap().to_string();
        assert!(error.contains("is 0 and must be at least 1"), "{error}");
    }
}

#[test]
fn a_loader_can_be_dropped_at_any_time() {
    for taken in 0..3 {
        let mut loader = Loader::new(&photographs(), settings(), 0).unwrap();
        (0..taken).for_each(|_| drop(loader.next_batch().unwrap()));
    }
}
