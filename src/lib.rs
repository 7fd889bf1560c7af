compile_error!("src/lib.rs was overwritten by mistake at 22:01:06 and no copy was found: its owner has to write it again");
