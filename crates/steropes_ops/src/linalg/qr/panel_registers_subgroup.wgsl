// Teams of a subgroup add what they have before it goes into workgroup memory; a team may also be several subgroups.
const PARTS: u32 = THREADS / max(SUBGROUP, COLUMNS);

fn put_part(own: f32, c: u32, thread: u32) {
    var sum = own;
    for (var apart = COLUMNS; apart < SUBGROUP; apart *= 2u) {
        sum += subgroupShuffleXor(sum, apart);
    }
    if (thread % max(SUBGROUP, COLUMNS) < COLUMNS) {
        parts[thread / max(SUBGROUP, COLUMNS) * COLUMNS + c] = sum;
    }
}

// All invocations go the same way, so that all of a subgroup take part in its operation.
fn largest_of_teams(thread: u32) -> f32 {
    var largest = 0.0;
    for (var first = 0u; first < TEAMS; first += SUBGROUP) {
        largest = max(largest, tops[min(first + thread % SUBGROUP, TEAMS - 1u)]);
    }
    return subgroupMax(largest);
}
