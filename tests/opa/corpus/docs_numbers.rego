package numbers_

a := [abs(-3), ceil(1.2), floor(-1.2), round(2.5)]

range_ := numbers.range(1, 5)

down := numbers.range(3, 1)

steps := numbers.range_step(0, 10, 5)

sums := [sum([1, 2, 3]), product([2, 3, 4]), max([1, 9, 3]), min([4, 2])]

bits_ := [bits.and(12, 10), bits.or(12, 10), bits.xor(12, 10), bits.lsh(1, 4), bits.rsh(16, 2)]

big := 9007199254740993 + 1

ratio := 7 / 2

remainder := 7 % 3

cmp := [1 < 2, "a" < "b", [1, 2] < [1, 3], null == null, 1 == 1.0]
