package arrays_

joined := array.concat([1], [2, 3])

middle := array.slice([0, 1, 2, 3, 4], 1, 3)

reversed := array.reverse([1, 2, 3])



names := [n | n := input.target.spec.template.spec.containers[_].env[_].name]

sorted := sort([3, 1, 2])

position := [i | [3, 1, 2][i] == 1]
