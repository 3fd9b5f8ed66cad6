package sets_

a := {1, 2, 3}

b := {3, 4}

u := a | b

i := a & b

d := a - b

many := union({a, b, {9}})

common := intersection({a, b})

in_ := 2 in a

empty := set()

sorted := sort({"b", "a"})

as_array := [x | some x in u]

nested contains [x, y] if {
	some x in a
	some y in b
	x == y
}
