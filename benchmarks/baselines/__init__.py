"""The scripts that a user would write instead, each as plain as it comes."""
