//! What counts as an image, in which order, with which label.

use std::fs;

use vf_engine::data::{ImageFolder, sha256_of_file};

use crate::{folder_of, refusal, repository};

#[test]
fn the_bundled_photographs_are_a_flat_folder() {
    let folder = ImageFolder::open(repository("assets/photos")).unwrap();
    assert_eq!(folder.len(), 23);
    assert_eq!(folder.labels(), None);
    assert_eq!(folder.names()[..2], ["astronaut.jpg", "brick_gray.jpg"]);
    assert!(folder.path(0).is_file());
}

#[test]
fn every_bundled_photograph_has_its_licence_and_credit() {
    let folder = repository("assets/photos");
    let licences = fs::read_to_string(folder.join("LICENSES.md")).unwrap();
    for name in ImageFolder::open(folder).unwrap().names() {
        let row = licences.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap_or_default();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert!(cells.len() > 4 && !cells[3].is_empty() && !cells[4].is_empty(), "{name}: no licence or author");
    }
}

#[test]
fn folders_are_classes_by_sorted_name() {
    let folder = folder_of(&[
        ("zebra/b.JPG", "dogs.jpg"),
        ("zebra/a.jpeg", "dogs.jpg"),
        ("ape/sub/a.jpg", "dogs.jpg"),
        ("ape/z.jpg", "dogs.jpg"),
        (".hidden/a.jpg", "dogs.jpg"),
        ("ape/.hidden.jpg", "dogs.jpg"),
    ]);
    fs::write(folder.path().join("ape/notes.txt"), "no image").unwrap();
    let images = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(images.names(), ["ape/z.jpg", "ape/sub/a.jpg", "zebra/a.jpeg", "zebra/b.JPG"]);
    assert_eq!(images.labels(), Some(&[0, 0, 1, 1][..]));
    assert_eq!(images.classes(), ["ape", "zebra"]);
}

#[test]
fn an_image_beside_folders_makes_it_flat() {
    let folder = folder_of(&[("b/a.jpg", "dogs.jpg"), ("c.jpg", "dogs.jpg")]);
    let images = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(images.names(), ["c.jpg", "b/a.jpg"]);
    assert_eq!((images.labels(), images.classes().len()), (None, 0));
}

#[test]
fn folders_without_images_are_refused_by_name() {
    let folder = folder_of(&[("class/a.jpg", "dogs.jpg")]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(refusal(&empty).contains("empty holds no images: put .jpg"), "{}", refusal(&empty));
    assert!(refusal(folder.path()).contains("empty: this class holds no images"), "{}", refusal(folder.path()));
    let missing = folder.path().join("missing");
    assert!(refusal(&missing).contains("missing: No such file"), "{}", refusal(&missing));
    let file = folder.path().join("class/a.jpg");
    assert!(refusal(&file).contains("a.jpg is a file: give the folder"), "{}", refusal(&file));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_loop_is_an_error() {
    let folder = folder_of(&[("class/a.jpg", "dogs.jpg")]);
    std::os::unix::fs::symlink(folder.path().join("class"), folder.path().join("alias")).unwrap();
    assert_eq!(ImageFolder::open(folder.path()).unwrap().names(), ["alias/a.jpg", "class/a.jpg"]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("class/loop")).unwrap();
    assert!(refusal(folder.path()).contains("loop"), "{}", refusal(folder.path()));
}

#[test]
fn hashes_are_sha256sums() {
    let folder = folder_of(&[]);
    let path = folder.path().join("abc");
    fs::write(&path, "abc").unwrap();
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, B.1
    assert_eq!(sha256_of_file(&path).unwrap(), expected);
}
