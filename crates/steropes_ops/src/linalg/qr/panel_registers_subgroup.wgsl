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

fn largest_of_teams(thread: u32) -> f32 {
    var largest = 0.0;
    for (var team = thread % SUBGROUP; team < TEAMS; team += SUBGROUP) {
        largest = max(largest, tops[team]);
    }
    return subgroupMax(largest);
}
