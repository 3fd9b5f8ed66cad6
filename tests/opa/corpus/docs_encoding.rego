package encoding

text := json.marshal({"a": [1, true, null]})

back := json.unmarshal("{\"x\": {\"y\": [1, 2]}}").x.y[1]

valid := [json.is_valid("{"), json.is_valid("[]")]

b64 := base64.encode("hello")

plain := base64.decode("aGVsbG8=")

is64 := base64.is_valid("***")

hexed := hex.encode("hi")

filtered := json.filter(input.target.metadata, ["labels/team", "name"])

removed := json.remove(input.target.metadata, ["labels", "annotations"])
