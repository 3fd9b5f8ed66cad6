package types_

names := [type_name(x) | some x in [1, "a", true, null, [], {}, set()]]

checks := [is_number(1), is_string(1), is_boolean(false), is_null(null), is_array([]), is_object({}), is_set(set())]

converted := [to_number("3.5"), to_number(true), to_number(null)]

lengths := [count("häß"), count([1, 2]), count({"a": 1})]
