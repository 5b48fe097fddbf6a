const SUBGROUPS: u32 = THREADS / SUBGROUP;
var<workgroup> magnitudes: array<u32, SUBGROUPS>;
var<workgroup> numbers_of_rows: array<u32, SUBGROUPS>;

fn first_in_subgroup(own: Pivot) -> Pivot {
    let magnitude = subgroupMax(own.magnitude);
    return Pivot(magnitude, subgroupMin(select(NONE, own.row, own.magnitude == magnitude)));
}

// The best of all invocations.
fn first_of_largest(own: Pivot, thread: u32) -> Pivot {
    let found = first_in_subgroup(own);
    if (thread % SUBGROUP == 0u) {
        magnitudes[thread / SUBGROUP] = found.magnitude;
        numbers_of_rows[thread / SUBGROUP] = found.row;
    }
    workgroupBarrier();
    var best = Pivot(magnitudes[0], numbers_of_rows[0]);
    for (var i = 1u; i < SUBGROUPS; i++) {
        best = better_of(best, Pivot(magnitudes[i], numbers_of_rows[i]));
    }
    return best;
}
