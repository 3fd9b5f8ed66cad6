package mocks

limit := input.parameters.replicas

lower if limit < 5

mocked if lower with input.parameters.replicas as 2

whole := x if x := limit with input as {"parameters": {"replicas": 42}}

helper(x) := x + 1

replaced := y if {
	y := helper(1) with input as {}
}

now_ if data.mocks.night with input.now.hour as 3

night if input.now.hour < 6
