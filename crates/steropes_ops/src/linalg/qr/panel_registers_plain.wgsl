const PARTS: u32 = TEAMS;

fn put_part(own: f32, c: u32, thread: u32) {
    parts[thread] = own;
}

fn largest_of_teams(thread: u32) -> f32 {
    var largest = 0.0;
    for (var team = 0u; team < TEAMS; team++) {
        largest = max(largest, tops[team]);
    }
    return largest;
}
