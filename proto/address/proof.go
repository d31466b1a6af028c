package address

// RootProofHeader names an object that the caller has just written below the root which it means. A daemon that does not
// see the object serves another root, and refuses the call.
const RootProofHeader = "Ckptd-Root-Proof"
