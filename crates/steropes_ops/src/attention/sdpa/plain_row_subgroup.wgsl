// The eight invocations of a row are neighbours in a subgroup.
fn row_largest(x: ptr<function, array<f32, PER_THREAD>>, thread: u32) {
    for (var r = 0u; r < PER_THREAD; r++) {
        var y = (*x)[r];
        y = max(y, subgroupShuffleXor(y, 1u));
        y = max(y, subgroupShuffleXor(y, 2u));
        y = max(y, subgroupShuffleXor(y, 4u));
        (*x)[r] = y;
    }
}

fn row_total(x: ptr<function, array<f32, PER_THREAD>>, thread: u32) {
    for (var r = 0u; r < PER_THREAD; r++) {
        var y = (*x)[r];
        y += subgroupShuffleXor(y, 1u);
        y += subgroupShuffleXor(y, 2u);
        y += subgroupShuffleXor(y, 4u);
        (*x)[r] = y;
    }
}
